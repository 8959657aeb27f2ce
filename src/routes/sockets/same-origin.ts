import type { FastifyInstance } from 'fastify'
import { TurboPiError } from '../../errors.js'

/**
 * Refuses WebSockets that a page of another site opens: browsers ask no permission for them, so that any page open on
 * the robot's machine could reach a server on loopback. Programs send no Origin and are not concerned.
 */
export function sameOriginSockets(app: FastifyInstance): void {
  app.addHook('onRequest', async ({ ws, headers }) => {
    if (!ws || headers.origin === undefined) return
    if (URL.canParse(headers.origin) && new URL(headers.origin).host === headers.host) return
    throw new TurboPiError(
      'ORIGIN_FORBIDDEN',
      `A page of ${headers.origin} asked for a WebSocket of ${headers.host}; only the server's own page may.`,
    )
  })
}
