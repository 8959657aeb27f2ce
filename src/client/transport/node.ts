import { type ClientOptions, WebSocket } from 'ws'
import type { Transport } from './transport.js'

/** Milliseconds that a server has to answer a goodbye before the connection is cut. */
const CLOSE_TIMEOUT_MS = 1000

/** Connections of Node.js, by `ws`. */
export const nodeTransport: Transport = {
  hearsPings: true,
  open(url, { protocol, apiKey }, events) {
    const options: ClientOptions & { closeTimeout: number } = {
      perMessageDeflate: false,
      closeTimeout: CLOSE_TIMEOUT_MS,
      ...(apiKey !== undefined && { headers: { authorization: `Api-Key ${apiKey}` } }),
    }
    const socket = new WebSocket(url, [protocol], options)
    let reason = ''
    let refused = false
    socket.on('open', () => events.opened())
    socket.on('ping', () => events.heard())
    socket.on('pong', () => events.heard())
    socket.on('message', (frame, isBinary) =>
      events.frame(isBinary ? (frame as Buffer) : (frame as Buffer).toString()),
    )
    socket.on('unexpected-response', (request, { statusCode = 0 }) => {
      // A server that is starting or full may have room later; any other refusal stays one.
      refused = statusCode < 500
      reason = `The server ${refused ? 'refuses the connection' : 'answers'} with status ${statusCode}.`
      request.destroy()
      socket.terminate()
    })
    socket.on('error', error => {
      reason ||= error.message
    })
    socket.once('close', (code, text) =>
      events.closed(reason || `The connection was closed with ${code} ${text.toString()}`.trim(), refused),
    )
    return {
      get buffered() {
        return socket.bufferedAmount
      },
      send: frame => {
        if (socket.readyState === WebSocket.OPEN) socket.send(frame)
      },
      close: (code, text) => {
        if (code === 1000 && socket.readyState === WebSocket.OPEN) socket.close(code, text)
        else socket.terminate()
      },
    }
  },
}
