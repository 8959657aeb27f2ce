/** Observations that are taken up in one turn of the event loop. */
const PER_TURN = 8

/**
 * Spreads the observations of all clients over turns of the event loop; those that must wait go in the order in which they
 * came. A server that has fallen behind would otherwise spend long turns, or seconds on frames that newer ones supersede,
 * while the engine, timers and other clients wait.
 */
export class Turns {
  #taken = 0
  readonly #waiting: (() => void)[] = []

  /** True when the turn at hand has room for one more; otherwise `go` is called in a later turn. */
  take(go: () => void): boolean {
    this.#taken += 1
    if (this.#taken === 1 && this.#waiting.length === 0) setImmediate(this.#next)
    if (this.#taken <= PER_TURN) return true
    this.#waiting.push(go)
    return false
  }

  readonly #next = () => {
    this.#taken = 0
    for (const go of this.#waiting.splice(0, PER_TURN)) go()
    if (this.#waiting.length > 0) setImmediate(this.#next)
  }
}
