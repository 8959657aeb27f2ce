import type { Findings } from './findings.js'
import type { JointLimits } from './joint-limits.js'

/** Chunks further apart are not compared: the robot may have been moved meanwhile. */
const COMPARED_MS = 5000

/** Watches one robot's change from each chunk to the next. Rows are [rows, joints] of robot actions. */
export class SeamWatch {
  #last: { actions: Float64Array; at: number } | undefined

  constructor(
    private readonly joints: JointLimits,
    private readonly names: readonly string[],
  ) {}

  /**
   * Looks for the seam of a chunk: its first row against `executed`, the row of the chunk before that was due at the same
   * observation, where the caller says which; otherwise against all rows of that chunk, of which one was. Gives the rows as
   * they are to be sent: a copy when clamping. `at` is in milliseconds of a clock that never goes back.
   */
  join(
    actions: Float64Array,
    executed: Float64Array | undefined,
    at: number,
    findings: Findings,
  ): Float64Array {
    const last = this.#last && at - this.#last.at <= COMPARED_MS ? this.#last.actions : undefined
    const before = executed ?? last
    let sent = actions
    if (before)
      for (const [column, { seam }] of this.joints.entries()) {
        if (seam === undefined) continue
        const limit = this.#limit(column, sent[column]!, before, seam, findings)
        if (limit === undefined) continue
        if (sent === actions) sent = actions.slice()
        sent[column] = limit
      }
    this.#last = { actions: sent, at }
    return sent
  }

  startOver(): void {
    this.#last = undefined
  }

  /** Where the first action of a joint is to be brought; undefined when it may stay. */
  #limit(
    column: number,
    value: number,
    before: Float64Array,
    seam: number,
    findings: Findings,
  ): number | undefined {
    let [low, high] = [Infinity, -Infinity]
    for (let i = column; i < before.length; i += this.joints.length) {
      low = Math.min(low, before[i]!)
      high = Math.max(high, before[i]!)
    }
    const from = Math.min(Math.max(value, low), high)
    const moved = value - from
    if (Math.abs(moved) <= seam) return undefined
    const joint = this.names[column]!
    return findings.clamps({ kind: 'seam', joint, row: 0, value: moved, limit: seam })
      ? from + Math.sign(moved) * seam
      : undefined
  }
}
