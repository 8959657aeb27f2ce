import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/
/** W3C Trace Context. */
const TRACEPARENT = /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/

/** Names this run of the server in the ids that it gives. */
const RUN = randomBytes(4).toString('hex')
let requests = 0

/** The caller's X-Request-Id, or one of our own. */
export const requestId: NonNullable<FastifyServerOptions['genReqId']> = ({ headers }) => {
  const given = headers['x-request-id']
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : `${RUN}-${(requests++).toString(36)}`
}

/** The W3C Trace Context of a request, as it came. */
export const traceOf = ({ headers }: Pick<IncomingMessage, 'headers'>): string | undefined => {
  const given = headers['traceparent']
  return typeof given === 'string' && TRACEPARENT.test(given) ? given : undefined
}

/** Puts the trace of a request, and the policy that it is for, into its lines of the log. */
export function nameLogLines(app: FastifyInstance, bindings: { policy?: string } = {}): void {
  app.setChildLoggerFactory((logger, own, options, request) => {
    const traceparent = traceOf(request as IncomingMessage)
    return logger.child({ ...own, ...bindings, ...(traceparent && { traceparent }) }, options)
  })
}

/** Gives every reply the request's id and trace, the one that upgrades to a WebSocket as well. */
export function echoNames(app: FastifyInstance): void {
  const upgrades = new WeakMap<IncomingMessage, string>()
  app.addHook('onRequest', (request, reply, done) => {
    const traceparent = traceOf(request)
    reply.header('x-request-id', request.id)
    if (traceparent) reply.header('traceparent', traceparent)
    if (request.ws) upgrades.set(request.raw, request.id)
    done()
  })
  app.websocketServer.on('headers', (headers, request) => {
    const id = upgrades.get(request)
    const traceparent = traceOf(request)
    if (id) headers.push(`x-request-id: ${id}`)
    if (traceparent) headers.push(`traceparent: ${traceparent}`)
  })
}
