/** Share of the way from the estimate down to a shorter delay that each new measurement goes. */
const DECAY = 0.1

/**
 * How long the next answer may take: the longest delay measured, which later ones let sink. A longer delay counts at once,
 * and one slow answer is not remembered for good.
 */
export class DelayEstimate {
  #ms = 0

  get ms(): number {
    return this.#ms
  }

  add(ms: number): void {
    this.#ms = Math.max(ms, this.#ms + DECAY * (ms - this.#ms))
  }
}
