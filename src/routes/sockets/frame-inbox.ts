import type { WebSocket } from 'ws'
import type { Turns } from '../event-loop-turns.js'
import type { Connection } from './connection.js'

/** A frame, and whether it is binary or text. */
type Handle = (frame: Buffer, isBinary: boolean) => void | Promise<void>

/**
 * The frames of one connection. They are handed over one after another, each in a turn of its own; while `limit` of them
 * wait, the connection is not read.
 */
export class Inbox {
  readonly #socket: WebSocket
  readonly #connection: Connection
  readonly #turns: Turns
  readonly #frames: [frame: Buffer, isBinary: boolean][] = []
  #handle: Handle | undefined
  #busy = false

  constructor(socket: WebSocket, connection: Connection, turns: Turns, limit: number) {
    this.#socket = socket
    this.#connection = connection
    this.#turns = turns
    socket.on('message', (frame, isBinary) => {
      this.#frames.push([frame as Buffer, isBinary])
      if (this.#frames.length >= limit) socket.pause()
      this.#next()
    })
  }

  /** Hands over what has come and what comes. The next frame waits for what `handle` returns, which must not reject. */
  open(handle: Handle): void {
    this.#handle = handle
    this.#next()
  }

  #next(): void {
    if (!this.#handle || this.#busy) return
    const next = this.#frames.shift()
    if (!next) return
    if (this.#socket.isPaused) this.#socket.resume()
    this.#busy = true
    this.#connection.track(this.#take(this.#handle, next[0], next[1]))
  }

  async #take(handle: Handle, frame: Buffer, isBinary: boolean): Promise<void> {
    await this.#turns.next()
    if (!this.#connection.gone.aborted) await handle(frame, isBinary)
    this.#connection.taken(frame)
    this.#busy = false
    this.#next()
  }
}
