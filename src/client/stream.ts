import type { ActionChunk, ClientObservation } from './chunk.js'
import type { ObserveOptions } from './client.js'

/** An observation on its way. */
export interface Observed {
  observation: ClientObservation
  options: ObserveOptions
  capturedAt: number
}

/**
 * Observations that may be unanswered: one in the engine, one waiting for it, one on the wire. The one on the wire makes
 * the server skip the waiting one, so a healthy connection always has room; one that lags does not fill up with
 * frames that will be stale when they arrive.
 */
export const MAX_UNANSWERED = 3

/**
 * Latest wins, on the robot's side, too: an observation that finds no room on its way is replaced by the next one, and
 * a chunk that nobody has fetched by a newer one. Iterate it for chunks; the iteration ends with `close` and throws
 * what the server reports.
 */
export class ChunkStream implements AsyncIterable<ActionChunk> {
  readonly #send: (observed: Observed) => boolean
  readonly #onClose: () => void
  #held: Observed | undefined
  #unanswered = 0
  #chunk: ActionChunk | undefined
  #error: Error | undefined
  #closed = false
  #wake: (() => void) | undefined

  constructor(send: (observed: Observed) => boolean, onClose: () => void) {
    this.#send = send
    this.#onClose = onClose
  }

  /** Sends an observation as soon as there is room. */
  push(observation: ClientObservation, options: ObserveOptions = {}): void {
    if (this.#closed) throw new Error('The stream is closed.')
    this.#held = { observation, options, capturedAt: options.capturedAt ?? performance.now() }
    this.#flush()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ActionChunk> {
    while (true) {
      while (!this.#chunk && !this.#error && !this.#closed) {
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
      }
      const [chunk, error] = [this.#chunk, this.#error]
      this.#chunk = undefined
      this.#error = undefined
      if (chunk) yield chunk
      else if (error) throw error
      else return
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#onClose()
    this.#wake?.()
  }

  /** A connection is there again: the newest observation goes first. */
  resume(): void {
    this.#unanswered = 0
    this.#flush()
  }

  /** The server has answered an observation, one way or another. */
  settle(): void {
    this.#unanswered = Math.max(0, this.#unanswered - 1)
    this.#flush()
  }

  deliver(chunk: ActionChunk): void {
    this.#chunk = chunk
    this.#wake?.()
  }

  fail(error: Error): void {
    this.#error = error
    this.#wake?.()
  }

  #flush(): void {
    if (!this.#held || this.#unanswered >= MAX_UNANSWERED || !this.#send(this.#held)) return
    this.#held = undefined
    this.#unanswered += 1
  }
}
