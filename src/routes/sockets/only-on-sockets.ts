import type { FastifyInstance } from 'fastify'
import { TurboPiError } from '../../errors.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Takes WebSocket connections. */
    socket?: boolean
  }
}

/** Refuses upgrades of addresses that have no WebSocket, before anything is opened. */
export function onlyOnSockets(app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const refused = request.ws && !request.is404 && !request.routeOptions.config.socket
    done(
      refused
        ? new TurboPiError('NOT_FOUND', `There is no WebSocket at ${request.url}. ${PROTOCOLS}`)
        : undefined,
    )
  })
}

export const PROTOCOLS =
  "openpi's WebSocket protocol stands at / and at /policies/NAME/, this server's own at /stream and /policies/NAME/stream"
