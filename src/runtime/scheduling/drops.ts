import { type ErrorCode, reasonOf, TurboPiError } from '../../errors.js'
import type { DropReason } from '../observer.js'

/** Why a ticket that fails so has left. What the observation itself is to blame for is not counted as dropped. */
const DROPPED: Partial<Record<ErrorCode, DropReason>> = {
  OVERLOADED: 'overloaded',
  DEADLINE_EXCEEDED: 'expired',
  REQUEST_CANCELLED: 'cancelled',
  SHUTTING_DOWN: 'cancelled',
}

/** All places of a queue are taken, whose rows take `rowMs` each. */
export function overloaded(places: number, rowMs: number): TurboPiError {
  const retryAfter = Math.max(1, Math.ceil((rowMs * places) / 1000))
  return new TurboPiError(
    'OVERLOADED',
    `All ${places} places of the queue are taken; try again in ${retryAfter} s, or send fewer requests at once.`,
    { retryAfter },
  )
}

export const shuttingDown = () =>
  new TurboPiError('SHUTTING_DOWN', 'This server is shutting down; send the request to another one.')

/** What a runtime rejects with, as an error of the table. */
export const runtimeError = (error: unknown): TurboPiError =>
  error instanceof TurboPiError
    ? error
    : new TurboPiError('RUNTIME_FAILED', `The inference runtime failed: ${reasonOf(error)}`, { cause: error })

/** Undefined for an error that is not counted as dropped. */
export const dropReasonOf = (error: unknown): DropReason | undefined =>
  error instanceof TurboPiError ? DROPPED[error.code] : undefined
