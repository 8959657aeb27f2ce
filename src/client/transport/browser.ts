import type { Transport } from './transport.js'

/**
 * Connections of a browser. It hears no pings, sees no status of a refusal, and sends no header: the key travels as a
 * subprotocol.
 */
export const browserTransport: Transport = {
  hearsPings: false,
  open(url, { protocol, apiKey }, events) {
    const protocols = apiKey === undefined ? [protocol] : [protocol, `turbo-pi.key.${base64url(apiKey)}`]
    const socket = new WebSocket(url, protocols)
    socket.binaryType = 'arraybuffer'
    socket.addEventListener('open', () => events.opened())
    socket.addEventListener('message', ({ data }) =>
      events.frame(typeof data === 'string' ? data : new Uint8Array(data as ArrayBuffer)),
    )
    socket.addEventListener('close', ({ code, reason }) =>
      events.closed(`The connection was closed with ${code} ${reason}`.trim(), false),
    )
    return {
      get buffered() {
        return socket.bufferedAmount
      },
      send: frame => {
        if (socket.readyState === WebSocket.OPEN) socket.send(frame as Uint8Array<ArrayBuffer>)
      },
      close: () => {
        // Browsers complain of a socket that is closed before it has opened.
        if (socket.readyState === WebSocket.CONNECTING)
          socket.addEventListener('open', () => socket.close(1000))
        else socket.close(1000)
      },
    }
  },
}

function base64url(text: string): string {
  const binary = String.fromCharCode(...new TextEncoder().encode(text))
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
