import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { encodeMsgpack, Float, type MsgpackValue } from '../src/contract/msgpack.js'

export interface Target {
  /** For example `http://127.0.0.1:8000`. */
  url: string
  apiKey: string | undefined
}

/** One byte four times: a masking key that masks a byte alike wherever it stands, so that parts are masked by themselves. */
const KEY = 0x80 | Math.floor(Math.random() * 128)

const masked = (bytes: Uint8Array): Buffer => Buffer.from(bytes.map(byte => byte ^ KEY))

/** The start of a masked binary frame (RFC 6455 §5.2). */
function frameHead(length: number): Buffer {
  const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, KEY, KEY, KEY, KEY])
  head.writeBigUInt64BE(BigInt(length), 2)
  return head
}

/** A binary message as one masked frame, to be written as often as wanted. */
export const frameOf = (message: Uint8Array): Buffer =>
  Buffer.concat([frameHead(message.byteLength), masked(message)])

/** A frame whose message differs in a few numbers from one sending to the next; the rest is encoded and masked once. */
export class FrameTemplate {
  readonly #start: Buffer
  /** Where the numbers stand in #start. */
  readonly #places: number[]
  readonly #rest: Buffer

  /** `message` makes the message around `count` numbers; what comes before the last of them is masked at each sending. */
  constructor(count: number, message: (numbers: Float[]) => MsgpackValue) {
    const markers = Array.from({ length: count }, () => Math.random())
    const encoded = Buffer.from(encodeMsgpack(message(markers.map(marker => new Float(marker)))))
    this.#places = markers.map(marker => {
      const bytes = Buffer.alloc(8)
      bytes.writeDoubleBE(marker)
      return encoded.indexOf(bytes)
    })
    const end = Math.max(...this.#places) + 8
    this.#start = encoded.subarray(0, end)
    this.#rest = masked(encoded.subarray(end))
  }

  /** The frame with these numbers, in parts. */
  frame(numbers: readonly number[]): Buffer[] {
    for (const [at, place] of this.#places.entries()) this.#start.writeDoubleBE(numbers[at]!, place)
    return [frameHead(this.#start.byteLength + this.#rest.byteLength), masked(this.#start), this.#rest]
  }
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

  /** Sends the parts of a frame; nothing once the connection is closing. */
  write(...parts: Buffer[]): void {
    if (this.socket.readyState !== WebSocket.OPEN) return
    this.#connection?.cork()
    for (const part of parts) this.#connection?.write(part)
    this.#connection?.uncork()
  }

  /** Ends when the connection has ended. */
  closed(): Promise<unknown> {
    return new Promise(resolve => this.socket.once('close', resolve))
  }
}
