import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { decodeMsgpack } from '../contract/msgpack.js'

/** The connection was refused or lost. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
}

export interface LinkOptions {
  /** Sent as `Authorization: Api-Key …`. */
  apiKey?: string
  /** First and longest pause before a new attempt, in milliseconds; each pause is twice the last, ± 20 %. */
  backoffMs?: readonly [first: number, longest: number]
}

export type Message = Readonly<Record<string, unknown>> & { readonly type: string }

export interface LinkEvents {
  /** Connected, or connected anew: the server remembers nothing of before. */
  ready(message: Message): void
  message(message: Message): void
  /** What was unanswered will not be answered; a new attempt follows unless `final` is set. */
  lost(error: ConnectionError, final: boolean): void
}

/** A connection to `WS /stream` that comes back by itself. */
export class Link {
  readonly #url: string
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  readonly #stop = new AbortController()
  readonly #ended: Promise<void>
  #socket: WebSocket | undefined

  constructor(url: string, options: LinkOptions, events: LinkEvents) {
    const address = new URL(url)
    address.protocol = address.protocol.replace('http', 'ws')
    address.pathname = `${address.pathname.replace(/\/$/, '')}/stream`
    this.#url = address.href
    this.#options = options
    this.#events = events
    this.#ended = this.#run()
  }

  /** Sends a frame; false when there is no connection. */
  send(frame: Uint8Array): boolean {
    const socket = this.#socket
    if (socket?.readyState !== WebSocket.OPEN) return false
    socket.send(frame)
    return true
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#socket?.close(1000)
    await this.#ended
  }

  async #run(): Promise<void> {
    const [first, longest] = this.#options.backoffMs ?? [250, 5000]
    let pause = first
    while (!this.#stop.signal.aborted) {
      const { error, final, wasReady } = await this.#connection()
      if (this.#stop.signal.aborted || final) {
        this.#events.lost(error, true)
        return
      }
      this.#events.lost(error, false)
      if (wasReady) pause = first
      await sleep(pause * (0.8 + 0.4 * Math.random()), undefined, { signal: this.#stop.signal }).catch(
        () => {},
      )
      pause = Math.min(longest, pause * 2)
    }
  }

  /** Lives as long as one connection. */
  #connection(): Promise<{ error: ConnectionError; final: boolean; wasReady: boolean }> {
    const { apiKey } = this.#options
    const socket = new WebSocket(this.#url, ['turbo-pi.v1+msgpack'], {
      perMessageDeflate: false,
      ...(apiKey !== undefined && { headers: { authorization: `Api-Key ${apiKey}` } }),
    })
    this.#socket = socket
    let wasReady = false
    let refusal: string | undefined
    let reason = ''
    socket.on('message', frame => {
      const message = decodeMsgpack(frame as Buffer) as Message
      if (message.type !== 'ready') return this.#events.message(message)
      wasReady = true
      this.#events.ready(message)
    })
    socket.on('unexpected-response', (request, response) => {
      const { statusCode = 0 } = response
      // A server that is starting or full may have room later; any other refusal stays one.
      if (statusCode < 500) refusal = `The server refuses the connection with status ${statusCode}.`
      reason = `The server answers with status ${statusCode}.`
      request.destroy()
      socket.terminate()
    })
    socket.on('error', error => {
      reason ||= error.message
    })
    return new Promise(resolve => {
      socket.once('close', (code, text) => {
        const detail =
          refusal ?? (reason || `The connection was closed with ${code} ${text.toString()}`.trim())
        resolve({ error: new ConnectionError(detail), final: refusal !== undefined, wasReady })
      })
    })
  }
}
