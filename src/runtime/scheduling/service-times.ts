/** Measurements that are looked at, and milliseconds for which they count: what was slow may have become fast unnoticed. */
const KEPT = 4
const MEMORY_MS = 10_000

interface Measured {
  readonly rows: number
  readonly steps: number
  /** The last few, the latest last. The first batch of a size is not among them. */
  readonly times: { ms: number; at: number }[]
}

/** The least and the most of a size's times that count. */
interface Recent {
  readonly rows: number
  readonly steps: number
  readonly least: number
  readonly most: number
}

/**
 * How long batches take, by their rows and steps. The first of a size does not count: it has to load or to capture. What is expected
 * is the least of the last few times, for one that was held up says nothing of the next; what a deadline has to allow for
 * is the most of them.
 */
export class ServiceTimes {
  readonly #measured: Measured[] = []

  learn(rows: number, steps: number, ms: number, now: number): void {
    const known = this.#measured.find(one => one.rows === rows && one.steps === steps)
    if (!known) {
      this.#measured.push({ rows, steps, times: [] })
      return
    }
    known.times.push({ ms, at: now })
    if (known.times.length > KEPT) known.times.shift()
  }

  /** Milliseconds of a batch, by the likest that was measured; 0 when none was, so that what is unknown is tried. */
  expected(rows: number, steps: number, now: number): number {
    let likest = 0
    let least = Number.POSITIVE_INFINITY
    for (const one of this.#recent(now)) {
      const unlike = Math.abs(one.rows - rows) + Math.abs(one.steps - steps)
      if (unlike >= least) continue
      least = unlike
      likest = one.least
    }
    return likest
  }

  /**
   * Milliseconds that a batch of so many rows may need, for how large it may be: along a line between sizes that were
   * measured, and in proportion outside of them, so that smaller ones are tried; 0 when none was. Of step counts, the one next to
   * `steps` counts.
   */
  needed(steps: number, now: number): (rows: number) => number {
    const recent = this.#recent(now)
    const nearest = Math.min(...recent.map(one => Math.abs(one.steps - steps)))
    const sizes = recent
      .filter(one => Math.abs(one.steps - steps) === nearest)
      .sort((a, b) => a.rows - b.rows)
    return rows => {
      const next = sizes.find(one => one.rows >= rows)
      const before = sizes.findLast(one => one.rows < rows)
      if (!next || !before) {
        const measured = next ?? before
        return measured ? (measured.most * rows) / measured.rows : 0
      }
      return before.most + ((next.most - before.most) * (rows - before.rows)) / (next.rows - before.rows)
    }
  }

  #recent(now: number): Recent[] {
    const recent: Recent[] = []
    for (const { rows, steps, times } of this.#measured) {
      const counting = times.filter(({ at }) => now - at <= MEMORY_MS).map(({ ms }) => ms)
      if (counting.length === 0) continue
      recent.push({ rows, steps, least: Math.min(...counting), most: Math.max(...counting) })
    }
    return recent
  }
}
