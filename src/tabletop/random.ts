/**
 * A small seeded generator (sfc32), so that an episode is the same on every machine and in the browser.
 * Not for secrets.
 */
export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  /** `seed` and `stream` are taken as unsigned 32-bit; different streams of one seed are independent. */
  constructor(seed: number, stream = 0) {
    this.#a = seed >>> 0
    this.#b = stream >>> 0
    this.#c = 0x9e3779b9
    for (let i = 0; i < 15; i++) this.uint32()
  }

  /** The next unsigned 32-bit number. */
  uint32(): number {
    const result = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0
    return result >>> 0
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.uint32() / 4294967296
  }

  /** Uniform in [low, high). */
  range(low: number, high: number): number {
    return low + (high - low) * this.uniform()
  }

  /** Integer in 0…count − 1. */
  integer(count: number): number {
    return Math.floor(this.uniform() * count)
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)]!
  }

  /** Standard normal (Box–Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items]
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.integer(i + 1)
      ;[result[i], result[j]] = [result[j]!, result[i]!]
    }
    return result
  }
}
