/** What a new measurement counts beside those before it. */
const WEIGHT = 0.2
/** Milliseconds for which a measurement counts: an engine that was slow may have become fast again unnoticed. */
const MEMORY_MS = 10_000

interface Measured {
  readonly rows: number
  readonly steps: number
  /** Undefined after the first batch of a size, which has to load or to capture. */
  ms: number | undefined
  at: number
}

/** How long batches take, by their rows and steps: moving averages of what was measured lately. Times are milliseconds. */
export class ServiceTimes {
  readonly #measured: Measured[] = []

  learn(rows: number, steps: number, ms: number, now: number): void {
    const known = this.#measured.find(one => one.rows === rows && one.steps === steps)
    if (!known) {
      this.#measured.push({ rows, steps, ms: undefined, at: now })
      return
    }
    const old = known.ms === undefined || now - known.at > MEMORY_MS
    known.ms = old ? ms : known.ms! + WEIGHT * (ms - known.ms!)
    known.at = now
  }

  /** Of a batch, by the likest that was measured; 0 when none was, so that what is unknown is tried. */
  expected(rows: number, steps: number, now: number): number {
    let likest = 0
    let least = Number.POSITIVE_INFINITY
    for (const { rows: otherRows, steps: otherSteps, ms, at } of this.#measured) {
      const unlike = Math.abs(otherRows - rows) + Math.abs(otherSteps - steps)
      if (ms === undefined || unlike >= least || now - at > MEMORY_MS) continue
      least = unlike
      likest = ms
    }
    return likest
  }
}
