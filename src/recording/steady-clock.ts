/** Milliseconds by which the two clocks may have come apart before the offset is taken anew. */
const APART_MS = 5

/**
 * Unix time of what is stamped with performance.now(): Date.now() counts whole milliseconds, and an offset taken each time would
 * change the order of what lies close together.
 */
export class SteadyClock {
  #offset = Number.NaN

  /** What is to be added to performance.now(). */
  offset(): number {
    const now = Date.now() - performance.now()
    if (!(Math.abs(now - this.#offset) <= APART_MS)) this.#offset = now
    return this.#offset
  }

  unix(at: number): number {
    return at + this.offset()
  }
}
