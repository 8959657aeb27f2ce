/** A seeded source of choices (xorshift of 32 bits): the same seed makes the same inputs on every machine, another seed others. */
export class Random {
  #state: number

  constructor(seed: number) {
    // Zero is the one state that xorshift never leaves.
    this.#state = (seed ^ 0x9e3779b9) | 0 || 1
    for (let i = 0; i < 8; i += 1) this.next()
  }

  /** 0 ≤ x < 2³². */
  next(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    return x >>> 0
  }

  /** 0 ≤ x < end. */
  below(end: number): number {
    return this.next() % Math.max(1, end)
  }

  chance(share: number): boolean {
    return this.next() < share * 2 ** 32
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T
  }
}
