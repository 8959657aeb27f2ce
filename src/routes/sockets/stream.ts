import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { asyncApiDocument } from '../../contract/asyncapi.js'
import { STREAM_PROTOCOLS } from '../../contract/stream-messages.js'
import { TurboPiError } from '../../errors.js'
import type { Served } from '../../service/served.js'
import type { Turns } from '../event-loop-turns.js'
import type { Refusals } from '../refusals.js'
import type { Sockets } from './connection.js'
import { Inbox } from './frame-inbox.js'
import { StreamSession } from './stream-session.js'
import { upgradeRequired } from './upgrade.js'

/** Frames of one robot that may wait for their turn; what comes after them soon supersedes them. */
const MAX_WAITING_FRAMES = 2

/** Names this run of the server: what a client knew of another one is forgotten. */
const INSTANCE = randomUUID()

/** WS /stream: observations in, the freshest action chunks out. GET /asyncapi.json describes the messages. */
export function streamRoute(
  app: FastifyInstance,
  served: Served,
  { sockets, turns, refusals }: { sockets: Sockets; turns: Turns; refusals: Refusals },
): void {
  const { robots, limits, bounds } = sockets
  const settings = { ...limits, instance: INSTANCE, robots, refusals, carried: bounds.carried }
  const description = () => {
    const { observation, shape } = served.current.service.metadata()
    return asyncApiDocument(observation, shape)
  }

  app.get(
    '/asyncapi.json',
    {
      schema: {
        operationId: 'asyncApi',
        summary: 'AsyncAPI description of WS /stream',
        description: 'Every message of the WebSocket, for the policy being served.',
        tags: ['documents'],
        response: {
          200: Type.Object(
            { asyncapi: Type.String() },
            { additionalProperties: true, description: 'A document of AsyncAPI 3.0.' },
          ),
        },
      },
    },
    async () => description(),
  )

  app.route({
    method: 'GET',
    url: '/stream',
    config: { socket: true },
    schema: { hide: true },
    preValidation: async request => {
      const offered = request.headers['sec-websocket-protocol']
      if (!request.ws || subprotocolOf(offered?.split(',') ?? [])) return
      const known = Object.keys(STREAM_PROTOCOLS).join(' or ')
      throw new TurboPiError(
        'SUBPROTOCOL_UNSUPPORTED',
        `Ask for the subprotocol ${known}; ${offered === undefined ? 'none was' : `${offered} was`} asked for.`,
      )
    },
    handler: upgradeRequired,
    wsHandler: (socket, request) => {
      const connection = sockets.open(socket, socket.protocol, served, request)
      const wire = STREAM_PROTOCOLS[socket.protocol]!
      const session = new StreamSession(served, connection, wire, request.log, settings)
      new Inbox(socket, connection, turns, MAX_WAITING_FRAMES).open((frame, isBinary) =>
        session.receive(frame, isBinary),
      )
      connection.track(
        served.current.service.start().then(
          () => session.open(),
          () => connection.close(1011, 'The engine could not be started.'),
        ),
      )
    },
  })
}

/** The first offered subprotocol that `WS /stream` speaks. */
export function subprotocolOf(offered: Iterable<string>): string | undefined {
  for (const name of offered) {
    if (Object.hasOwn(STREAM_PROTOCOLS, name.trim())) return name.trim()
  }
  return undefined
}
