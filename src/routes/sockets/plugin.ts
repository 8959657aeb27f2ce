import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import type { RobotLimits } from '../robots.js'
import { CLOSE_TIMEOUT_MS, type SocketBounds, type SocketLimits, Sockets } from './connection.js'
import { subprotocolOf } from './stream.js'

export interface WebSocketLimits extends SocketLimits, RobotLimits {
  /** Bytes that one frame may have. */
  maxFrameBytes: number
}

/**
 * Makes the server take WebSocket connections, and drain them when it closes. To be called before any hook or route
 * is added, so that the socket of every refused upgrade is closed.
 */
export async function webSockets(
  app: FastifyInstance,
  limits: WebSocketLimits,
  bounds: SocketBounds,
): Promise<Sockets> {
  const sockets = new Sockets(limits, bounds)
  const options = {
    maxPayload: limits.maxFrameBytes,
    perMessageDeflate: false,
    closeTimeout: CLOSE_TIMEOUT_MS,
    handleProtocols: (offered: Set<string>) => subprotocolOf(offered) ?? false,
  }
  await app.register(websocket, {
    options,
    // A frame that breaks the protocol has already closed its socket, with the right code.
    errorHandler: (error, socket, request) => {
      request.log.info({ err: error }, 'A WebSocket connection failed')
      socket.close(1011)
    },
    preClose: async () => {
      await sockets.drain()
      app.websocketServer.close()
    },
  })
  return sockets
}
