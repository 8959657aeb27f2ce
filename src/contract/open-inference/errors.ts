import type { ERRORS, ErrorCode } from '../../errors.js'
import type { ProblemDocument } from '../problem.js'

/** An error in the protocol's form: one text, which begins with the code. */
export const errorText = ({ code, detail }: Pick<ProblemDocument, 'code' | 'detail'>): string =>
  `${code}: ${detail}`

type Status = (typeof ERRORS)[ErrorCode]['status']

/** gRPC's status codes by the HTTP statuses of the one table of errors. */
const GRPC_STATUS: Readonly<Record<Status, number>> = {
  400: 3, // INVALID_ARGUMENT
  401: 16, // UNAUTHENTICATED
  403: 7, // PERMISSION_DENIED
  404: 5, // NOT_FOUND
  408: 4, // DEADLINE_EXCEEDED
  409: 9, // FAILED_PRECONDITION
  413: 8, // RESOURCE_EXHAUSTED
  415: 3, // INVALID_ARGUMENT
  422: 3, // INVALID_ARGUMENT
  426: 3, // INVALID_ARGUMENT
  429: 8, // RESOURCE_EXHAUSTED
  431: 8, // RESOURCE_EXHAUSTED
  499: 1, // CANCELLED
  500: 13, // INTERNAL
  503: 14, // UNAVAILABLE
  504: 4, // DEADLINE_EXCEEDED
}

/** Of a problem, by its HTTP status. */
export const grpcStatusOf = (status: number): number => GRPC_STATUS[status as Status]
