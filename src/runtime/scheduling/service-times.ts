/** Measurements that are looked at, and milliseconds for which they count: what was slow may have become fast unnoticed. */
const KEPT = 4
const MEMORY_MS = 10_000

interface Measured {
  readonly rows: number
  readonly steps: number
  /** The last few, the latest last. The first batch of a size is not among them: it has to load or to capture. */
  readonly times: { ms: number; at: number }[]
}

/**
 * How long batches take, by their rows and steps: the least of the last few times. One that took long for once, because it was the
 * first of its shape or was held up, says nothing of the next; an engine that is slow is so each time.
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
    for (const measured of this.#measured) {
      const unlike = Math.abs(measured.rows - rows) + Math.abs(measured.steps - steps)
      const recent = measured.times.filter(({ at }) => now - at <= MEMORY_MS)
      if (unlike >= least || recent.length === 0) continue
      least = unlike
      likest = Math.min(...recent.map(({ ms }) => ms))
    }
    return likest
  }
}
