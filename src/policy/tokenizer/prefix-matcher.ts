interface Node {
  next: Map<string, Node>
  end: boolean
}

/** Finds the longest of a set of words at a place in a text, one code point at a time. */
export class PrefixMatcher {
  readonly #root: Node = { next: new Map(), end: false }

  constructor(words: Iterable<string>) {
    for (const word of words) {
      let node = this.#root
      for (const point of word) {
        let child = node.next.get(point)
        if (!child) node.next.set(point, (child = { next: new Map(), end: false }))
        node = child
      }
      node.end = true
    }
  }

  /** How many of `points` from `start` on make the longest word; 0 when there is none. */
  longest(points: readonly string[], start: number): number {
    let node = this.#root
    let longest = 0
    for (let at = start; at < points.length; at++) {
      const child = node.next.get(points[at] as string)
      if (!child) break
      node = child
      if (node.end) longest = at + 1 - start
    }
    return longest
  }
}
