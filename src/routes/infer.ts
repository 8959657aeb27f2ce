import type { FastifyInstance } from 'fastify'
import { jsonReply, msgpackReply } from '../contract/answer.js'
import { exampleObservation } from '../contract/example-observation.js'
import { encodeMsgpack } from '../contract/msgpack.js'
import { inferReplySchema, inferRequestSchema } from '../contract/schemas.js'
import { TurboPiError } from '../errors.js'
import type { Served } from '../service/served.js'
import { bodyOf, bodyParsers, type WireBody } from './body.js'
import { callerGone } from './caller-gone.js'
import type { Connections } from './connections.js'
import { Turns } from './event-loop-turns.js'
import { patientRefusals } from './patient-refusals.js'
import { problemReply } from './problems.js'
import type { RequestMemory } from './request-memory.js'
import { traceOf } from './request-names.js'

const MSGPACK = 'application/msgpack'

function refuseCompressed(encoding: string | undefined): void {
  if (encoding === undefined || encoding === 'identity') return
  throw new TurboPiError(
    'CONTENT_TYPE_UNSUPPORTED',
    `The body is compressed (content-encoding: ${encoding}), which this server does not read: pictures gain nothing by it. Send it as it is, without that header.`,
  )
}

/** POST /infer: one observation in, one action chunk out, as JSON or in openpi's msgpack-numpy. */
export function inferRoute(
  app: FastifyInstance,
  served: Served,
  {
    turns,
    connections,
    ...limits
  }: { turns: Turns; connections: Connections; memory: RequestMemory; bodyLimit: number },
): void {
  const { observation: spec, shape } = served.current.service.metadata()
  const bodyTurns = new Turns()

  bodyParsers(app, limits)
  patientRefusals(app, connections)

  app.post(
    '/infer',
    {
      schema: {
        operationId: 'infer',
        summary: 'Compute an action chunk for an observation',
        description:
          'The observation is that of the policy being served, and is checked strictly: nothing is coerced, dropped or defaulted.',
        tags: ['inference'],
        body: {
          content: {
            'application/json': {
              schema: { ...inferRequestSchema(spec, shape, 'json'), examples: [exampleObservation(spec)] },
            },
            [MSGPACK]: { schema: inferRequestSchema(spec, shape, 'msgpack') },
          },
        },
        response: {
          200: {
            description: 'The action chunk; as application/msgpack when the request was.',
            content: { 'application/json': { schema: inferReplySchema(shape) } },
          },
          '4xx': problemReply('The request is at fault; nothing was computed.'),
          '5xx': problemReply('The server is at fault, overloaded or too late.'),
        },
      },
      // Bodies are read by turns, too: a crowd of them would keep other requests waiting.
      onRequest: async ({ headers }) => {
        refuseCompressed(headers['content-encoding'])
        await bodyTurns.next()
      },
      preHandler: () => turns.next(),
      // RequestParser validates both wires, the sockets' too: one place, one form of error.
      validatorCompiler: () => () => true,
    },
    async (request, reply) => {
      const arrived = performance.now()
      const { robot } = request
      const { wire, value } = bodyOf<WireBody>(request)
      const { service, parser } = served.current
      const { observation, sampling, deadlineMs } = parser.request(value, wire)
      const gone = callerGone(request, reply)
      const peer = connections.peer(request.raw.socket)
      const finished = request.key?.begin()
      request.reachedService = true
      peer.work += 1
      const answer = await service
        .infer(observation, sampling, {
          session: robot?.name ?? `${request.ip}:${request.socket.remotePort}`,
          robot: robot?.name,
          trace: { traceparent: traceOf(request), receivedAt: arrived - reply.elapsedTime },
          signal: gone,
          deadlineMs,
        })
        .finally(() => {
          finished?.()
          peer.work -= 1
        })
      robot?.answered(served.name, performance.now() - arrived, answer)
      if (wire === 'json') return jsonReply(answer)
      return reply.type(MSGPACK).send(encodeMsgpack(msgpackReply(answer)))
    },
  )
}
