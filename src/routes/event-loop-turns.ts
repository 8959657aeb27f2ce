/**
 * Observations that are taken up together. They go through the same steps side by side, which takes a quarter less processor
 * time than one by one: code and data stay in the processor's caches, and the engine gets them as a batch.
 */
const PER_TURN = 8

/**
 * Spreads the observations of all clients over turns of the event loop, in the order in which they came. Between two turns,
 * whatever else has arrived is read, so that nobody waits for a crowd of observations: neither other requests and timers,
 * nor the client whose next observation comes just after those of all others.
 */
export class Turns {
  readonly #waiting: (() => void)[] = []

  /** Resolves in a later turn. */
  next(): Promise<void> {
    return new Promise(resolve => {
      this.#waiting.push(resolve)
      if (this.#waiting.length === 1) setImmediate(this.#go)
    })
  }

  readonly #go = () => {
    for (const resolve of this.#waiting.splice(0, PER_TURN)) resolve()
    if (this.#waiting.length > 0) setImmediate(this.#go)
  }
}
