/** One piece of the text while pairs are merged: a doubly linked list in arrays of the text's length. */
export interface BpeSymbols {
  pieces: string[]
  /** True for symbols that never merge (user-defined ones). */
  frozen: boolean[]
}

interface Pair {
  left: number
  right: number
  priority: number
  length: number
}

/** Better first: smaller priority, then further left. */
const before = (a: Pair, b: Pair) => a.priority < b.priority || (a.priority === b.priority && a.left < b.left)

/** A binary heap of candidate pairs. */
class PairHeap {
  readonly #pairs: Pair[] = []

  push(pair: Pair): void {
    const pairs = this.#pairs
    let at = pairs.push(pair) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(pair, pairs[parent] as Pair)) break
      pairs[at] = pairs[parent] as Pair
      at = parent
    }
    pairs[at] = pair
  }

  pop(): Pair | undefined {
    const pairs = this.#pairs
    const top = pairs[0]
    const last = pairs.pop()
    if (top === undefined || last === undefined || pairs.length === 0) return top
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= pairs.length) break
      if (child + 1 < pairs.length && before(pairs[child + 1] as Pair, pairs[child] as Pair)) child++
      if (!before(pairs[child] as Pair, last)) break
      pairs[at] = pairs[child] as Pair
      at = child
    }
    pairs[at] = last
    return top
  }
}

/**
 * Byte-pair merging in O(n log n): always the pair of smallest priority, leftmost first. `priorityOf` gives undefined
 * for a pair that does not merge. Returns the pieces that remain.
 */
export function mergePairs(
  { pieces, frozen }: BpeSymbols,
  priorityOf: (left: string, right: string) => number | undefined,
): string[] {
  const count = pieces.length
  const symbols: (string | undefined)[] = [...pieces]
  const previous = Int32Array.from({ length: count }, (_, i) => i - 1)
  const next = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : -1))
  const heap = new PairHeap()
  const consider = (left: number, right: number) => {
    if (left < 0 || right < 0 || frozen[left] || frozen[right]) return
    const a = symbols[left] as string
    const b = symbols[right] as string
    const priority = priorityOf(a, b)
    if (priority !== undefined) heap.push({ left, right, priority, length: a.length + b.length })
  }
  for (let i = 0; i + 1 < count; i++) consider(i, i + 1)
  for (let pair = heap.pop(); pair; pair = heap.pop()) {
    const { left, right, length } = pair
    const a = symbols[left]
    const b = symbols[right]
    // A symbol only ever grows or vanishes, so the length tells whether this pair is still the one that was pushed.
    if (a === undefined || b === undefined || a.length + b.length !== length) continue
    symbols[left] = a + b
    symbols[right] = undefined
    const after = next[right] as number
    next[left] = after
    if (after >= 0) previous[after] = left
    consider(previous[left] as number, left)
    consider(left, after)
  }
  return symbols.filter(symbol => symbol !== undefined)
}

/** The token of one byte, for text that the vocabulary does not have. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
