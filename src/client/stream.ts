import type { ActionChunk } from './chunk.js'
import type { Outcome } from './core/calls.js'
import { RemoteError } from './errors.js'
import type { ClientObservation, Observed, ObserveOptions } from './observation.js'

/**
 * Latest wins, on the robot's side, too: an observation that finds no room on its way is replaced by the next one, and
 * a chunk that nobody has fetched by a newer one. Iterate it for chunks; the iteration ends with `close` and throws
 * what the server reports. Observations that are skipped, or lost with their connection, leave no trace: newer ones follow.
 */
export class ChunkStream implements AsyncIterable<ActionChunk>, Disposable {
  readonly #call: (observed: Observed, settle: (outcome: Outcome) => void) => void
  readonly #onClose: () => void
  #chunk: ActionChunk | undefined
  #error: Error | undefined
  #closed = false
  #wake: (() => void) | undefined

  constructor(call: (observed: Observed, settle: (outcome: Outcome) => void) => void, onClose: () => void) {
    this.#call = call
    this.#onClose = onClose
  }

  /** Sends an observation as soon as there is room. */
  push(observation: ClientObservation, options: ObserveOptions = {}): void {
    if (this.#closed) throw new Error('The stream is closed.')
    const capturedAt = options.capturedAt ?? performance.now()
    this.#call({ observation, options, capturedAt }, outcome => {
      if ('chunk' in outcome) this.#deliver(outcome.chunk)
      else if (outcome.error instanceof RemoteError) this.fail(outcome.error)
    })
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

  [Symbol.dispose](): void {
    this.close()
  }

  /** Throws an error into the iteration. */
  fail(error: Error): void {
    this.#error = error
    this.#wake?.()
  }

  #deliver(chunk: ActionChunk): void {
    this.#chunk = chunk
    this.#wake?.()
  }
}
