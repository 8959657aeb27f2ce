import type { Socket } from 'node:net'
import { WebSocket } from 'ws'

export interface Target {
  /** For example `http://127.0.0.1:8000`. */
  url: string
  apiKey: string | undefined
}

/** A binary message as one masked frame (RFC 6455 §5.2), to be written as often as wanted. */
export function frameOf(message: Uint8Array): Buffer {
  // The header takes 14 bytes; behind two more the key and the message lie at multiples of 4.
  const words = new Int32Array(4 + Math.ceil(message.byteLength / 4))
  const bytes = Buffer.from(words.buffer)
  bytes[2] = 0x82
  bytes[3] = 0xff
  bytes.writeBigUInt64BE(BigInt(message.byteLength), 4)
  words[3] = Math.floor(Math.random() * 2 ** 32)
  bytes.set(message, 16)
  const key = words[3] as number
  for (let at = 4; at < words.length; at += 1) words[at] = (words[at] as number) ^ key
  return bytes.subarray(2, 16 + message.byteLength)
}

/**
 * A client of a server under load. It writes frames made in advance straight to the connection: a load that masks 300 KB
 * anew for each request measures itself.
 */
export class LoadSocket {
  readonly socket: WebSocket
  #connection: Socket | undefined

  constructor({ url, apiKey }: Target, path: string, protocols: string[] = []) {
    this.socket = new WebSocket(url.replace(/^http/, 'ws') + path, protocols, {
      perMessageDeflate: false,
      ...(apiKey !== undefined && { headers: { authorization: `Api-Key ${apiKey}` } }),
    })
    this.socket.once('upgrade', response => {
      this.#connection = response.socket
    })
  }

  /** Sends a frame made by `frameOf`; nothing once the connection is closing. */
  write(frame: Buffer): void {
    if (this.socket.readyState === WebSocket.OPEN) this.#connection?.write(frame)
  }

  /** Ends when the connection has ended. */
  closed(): Promise<unknown> {
    return new Promise(resolve => this.socket.once('close', resolve))
  }
}
