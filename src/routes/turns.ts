/**
 * Takes up one observation in each turn of the event loop, in the order in which they came. Between two, whatever else has
 * arrived is read, so that nobody waits for a crowd of observations: neither other requests and timers, nor the client
 * whose next observation comes just after those of all others.
 */
export class Turns {
  readonly #waiting: (() => void)[] = []

  /** Resolves in a turn of its own. */
  next(): Promise<void> {
    return new Promise(resolve => {
      this.#waiting.push(resolve)
      if (this.#waiting.length === 1) setImmediate(this.#go)
    })
  }

  readonly #go = () => {
    this.#waiting.shift()?.()
    if (this.#waiting.length > 0) setImmediate(this.#go)
  }
}
