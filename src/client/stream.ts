import type { ActionChunk, ClientObservation } from './chunk.js'
import type { ObserveOptions } from './client.js'

/** An observation on its way. */
export interface Observed {
  observation: ClientObservation
  options: ObserveOptions
  capturedAt: number
}

/**
 * Latest wins, on the robot's side, too: an observation that the network has not taken is replaced by the next one, and
 * a chunk that nobody has fetched by a newer one. Iterate it for chunks; the iteration ends with `close` and throws
 * what the server reports.
 */
export class ChunkStream implements AsyncIterable<ActionChunk> {
  readonly #send: (observed: Observed, flushed: () => void) => boolean
  readonly #onClose: () => void
  #held: Observed | undefined
  #sending = false
  #chunk: ActionChunk | undefined
  #error: Error | undefined
  #closed = false
  #wake: (() => void) | undefined

  constructor(send: (observed: Observed, flushed: () => void) => boolean, onClose: () => void) {
    this.#send = send
    this.#onClose = onClose
  }

  /** Sends an observation as soon as the network takes it. */
  push(observation: ClientObservation, options: ObserveOptions = {}): void {
    if (this.#closed) throw new Error('The stream is closed.')
    this.#held = { observation, options, capturedAt: options.capturedAt ?? performance.now() }
    if (!this.#sending) this.#flush()
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
    this.#sending = false
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
    const held = this.#held
    if (!held) return
    this.#sending = this.#send(held, () => {
      this.#sending = false
      this.#flush()
    })
    if (this.#sending) this.#held = undefined
  }
}
