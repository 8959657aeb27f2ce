/** Lines a second, and as many twice over at once. */
const PER_SECOND = 10

/** Keeps what callers can cause without end from filling the log. */
export class LogLimit {
  #left = 2 * PER_SECOND
  readonly #now: () => number
  #at: number
  #withheld = 0

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#at = now()
  }

  /** Writes the line, with how many were withheld before it, or withholds it. */
  pass(write: (withheld: { withheld?: number }) => void): void {
    const now = this.#now()
    this.#left = Math.min(2 * PER_SECOND, this.#left + ((now - this.#at) / 1000) * PER_SECOND)
    this.#at = now
    if (this.#left < 1) {
      this.#withheld += 1
      return
    }
    this.#left -= 1
    const withheld = this.#withheld
    this.#withheld = 0
    write(withheld > 0 ? { withheld } : {})
  }
}
