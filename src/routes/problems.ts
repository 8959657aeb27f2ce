import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { shown } from '../contract/limits.js'
import { type ProblemDocument, problemOf } from '../contract/problem.js'
import { Problem } from '../contract/schemas.js'
import { type ErrorCode, TurboPiError } from '../errors.js'
import type { Refusals } from './refusals.js'
import { PROTOCOLS } from './sockets/only-on-sockets.js'

/** A refusal, in the schemas of a route. */
export const problemReply = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: Problem } },
})

declare module 'fastify' {
  interface FastifyRequest {
    /** A service has taken it up, and counts its error. */
    reachedService: boolean
  }
}

/** What Fastify itself reports about a request, in our table of codes. */
const FASTIFY_CODES: Record<string, ErrorCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'CONTENT_TYPE_UNSUPPORTED',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_BAD_URL: 'NOT_FOUND',
}

function knownError(error: unknown): unknown {
  if (error instanceof TurboPiError) return error
  const { code = '', statusCode = 500, message } = error as Partial<FastifyError>
  const known = Object.hasOwn(FASTIFY_CODES, code) ? FASTIFY_CODES[code] : undefined
  if (known) return new TurboPiError(known, message ?? '', { cause: error })
  return statusCode >= 400 && statusCode < 500
    ? new TurboPiError('BODY_MALFORMED', message ?? '', { cause: error })
    : error
}

/** What counts an error by its code: a policy's metrics, or the server's. */
interface Counts {
  refused(code: string): void
}

/** Puts a problem document, or what it says, into a reply that has its status and headers. */
type SendProblem = (reply: FastifyReply, problem: ProblemDocument) => FastifyReply

// Serialised here, so that a route's response schema cannot turn an error into another one.
const asDocument: SendProblem = (reply, problem) =>
  reply.type('application/problem+json').serializer(JSON.stringify).send(problem)

/**
 * Every error leaves as an RFC 9457 problem document, or as `send` has it, and is counted, by what `countsOf` gives unless a
 * service has done so; what is not ours is logged, and told as INTERNAL.
 */
export function errorReplies(
  app: FastifyInstance,
  refusals: Refusals,
  countsOf: (request: FastifyRequest) => Counts = () => refusals,
  send: SendProblem = asDocument,
): void {
  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    const problem = problemOf(known)
    if (!request.reachedService) countsOf(request).refused(problem.code)
    // An overloaded or late server says so to its callers; only faults need somebody to look.
    if (problem.status === 500) request.log.error({ err: error }, problem.title)
    else refusals.log(request.log, problem, request)
    return sendProblem(reply, known, send)
  })
}

/** What Node.js reports of a connection before there is a request, in our table of codes. */
const CONNECTION_ERRORS: Readonly<Record<string, TurboPiError>> = {
  ERR_HTTP_REQUEST_TIMEOUT: new TurboPiError(
    'REQUEST_TIMEOUT',
    'The request did not come in whole in the time that it may take (--request-timeout).',
  ),
  HPE_HEADER_OVERFLOW: new TurboPiError(
    'HEADERS_TOO_LARGE',
    'The headers are larger than 16 KiB; send less.',
  ),
}
const NOT_HTTP = new TurboPiError('BODY_MALFORMED', 'This is no HTTP request that can be read.')

/** Problem documents for what ends before Fastify has a route: addresses that cannot be read, and broken connections. */
export const earlyProblems = {
  frameworkErrors: (error: unknown, _request: unknown, reply: FastifyReply): void => {
    sendProblem(reply, knownError(error))
  },
  clientErrorHandler: ({ code }: { code: string }, socket: Socket): void => {
    if (code === 'ECONNRESET' || socket.destroyed) return
    const problem = problemOf(CONNECTION_ERRORS[code] ?? NOT_HTTP)
    const body = JSON.stringify(problem)
    const head = [
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
      'Connection: close',
      'Content-Type: application/problem+json',
      `Content-Length: ${Buffer.byteLength(body)}`,
    ]
    if (socket.writable) socket.write(`${head.join('\r\n')}\r\n\r\n${body}`)
    socket.destroySoon()
  },
}

/** RFC 9112 §3.2. Node.js would refuse it by itself, with an empty body. */
export function hostRequired(app: FastifyInstance): void {
  app.addHook('onRequest', async ({ headers, raw }) => {
    if (headers.host === undefined && raw.httpVersion === '1.1')
      throw new TurboPiError('BODY_MALFORMED', 'A request of HTTP/1.1 has a Host header; this one has none.')
  })
}

/** Unknown addresses are answered by a problem document, too, or as `send` has it. */
export function notFoundReplies(
  app: FastifyInstance,
  refusals: Refusals,
  send: SendProblem = asDocument,
): void {
  app.setNotFoundHandler((request, reply) => {
    const error = new TurboPiError(
      'NOT_FOUND',
      `There is no ${request.method} ${shown(request.url)}; ${request.headers.upgrade ? PROTOCOLS : 'GET /docs lists the routes'}.`,
    )
    refusals.refused(error.code)
    refusals.log(request.log, problemOf(error), request)
    return sendProblem(reply, error, send)
  })
}

function sendProblem(reply: FastifyReply, error: unknown, send = asDocument): FastifyReply {
  const problem = problemOf(error)
  if (problem.status === 503 || problem.status === 429) {
    const seconds = (error as { retryAfter?: number }).retryAfter ?? 1
    reply.header('retry-after', Math.max(1, Math.ceil(seconds)))
  }
  return send(reply.code(problem.status), problem)
}
