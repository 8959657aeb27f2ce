import { randomInt } from 'node:crypto'

/** Ranks of pairs of ids in arrays, which pass from one thread to another without being copied. */
export interface PairTables {
  /** An open hash table of one more than left · 2²¹ + right, or 0. Its size is a power of two. */
  readonly keys: Float64Array
  readonly ranks: Int32Array
  /** Of the table's hash: whoever writes a file cannot know which pairs will share a slot. */
  readonly seed: number
}

/** Ids that pairs are made of are below this, so that a pair is a number of 53 bits. */
export const MOST_IDS = 2 ** 21

/** The rank of a pair of ids, each below MOST_IDS. */
export class PairRanks {
  constructor(readonly tables: PairTables) {}

  /** Room for `count` pairs. */
  static for(count: number): PairRanks {
    const size = 2 ** Math.ceil(Math.log2(2 * count + 1))
    return new PairRanks({
      keys: new Float64Array(size),
      ranks: new Int32Array(size),
      seed: randomInt(2 ** 32),
    })
  }

  set(left: number, right: number, rank: number): void {
    const slot = this.#slotOf(left, right)
    this.tables.keys[slot] = keyOf(left, right)
    this.tables.ranks[slot] = rank
  }

  get(left: number, right: number): number | undefined {
    const slot = this.#slotOf(left, right)
    return this.tables.keys[slot] === 0 ? undefined : this.tables.ranks[slot]
  }

  /** The slot that holds the pair, or the free one in which it would be. */
  #slotOf(left: number, right: number): number {
    const { keys, seed } = this.tables
    const key = keyOf(left, right)
    const hash = Math.imul(Math.imul(left ^ seed, 0x9e3779b1) ^ right, 0x85ebca6b)
    let slot = (hash ^ (hash >>> 15)) & (keys.length - 1)
    while (keys[slot] !== 0 && keys[slot] !== key) slot = (slot + 1) & (keys.length - 1)
    return slot
  }
}

const keyOf = (left: number, right: number) => left * MOST_IDS + right + 1
