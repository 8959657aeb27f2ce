import type { FastifyReply, FastifyRequest } from 'fastify'
import { TurboPiError } from '../../errors.js'

/** Answers plain HTTP on a WebSocket's address: 426, as openpi's server does. */
export async function upgradeRequired(request: FastifyRequest, reply: FastifyReply): Promise<never> {
  reply.header('upgrade', 'websocket').header('connection', 'upgrade')
  throw new TurboPiError(
    'UPGRADE_REQUIRED',
    `${request.url} takes WebSocket connections; POST /infer takes HTTP.`,
  )
}
