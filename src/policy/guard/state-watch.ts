import { type GuardFinding, MOST_FINDINGS } from '../../contract/guard.js'
import type { Bounds } from './bounds.js'

/** How much of the range between its bounds a number of the state may move from one observation to the next. */
export const JUMP_SHARE = 0.5

/** Observations further apart are not compared: the robot may have been moved meanwhile. */
const COMPARED_MS = 1000

/** Watches the states of one robot: far outside what the policy was trained on, or jumping. */
export class StateWatch {
  #last: { state: Float64Array; at: number } | undefined

  /** `names` are those of the state's numbers. */
  constructor(
    private readonly bounds: Bounds,
    private readonly names: readonly string[],
  ) {}

  /** Adds what is odd. `state` is in training joint space, `at` in milliseconds of a clock that never goes back. */
  see(state: Float64Array, at: number, findings: GuardFinding[]): void {
    const { low, high } = this.bounds
    const last = this.#last && at - this.#last.at <= COMPARED_MS ? this.#last.state : undefined
    const before = findings.length
    let outside = false
    for (let i = 0; i < state.length; i += 1) {
      const value = state[i]!
      const limit = value < low[i]! ? low[i]! : value > high[i]! ? high[i]! : undefined
      if (limit !== undefined) {
        outside = true
        findings.push({ kind: 'state_bounds', joint: this.names[i]!, row: null, value, limit })
      }
      const moved = last ? Math.abs(value - last[i]!) : 0
      const reach = (high[i]! - low[i]!) * JUMP_SHARE
      if (moved > reach)
        findings.push({ kind: 'state_jump', joint: this.names[i]!, row: null, value: moved, limit: reach })
    }
    // The way back from a wild reading is no jump.
    if (!outside) this.#last = { state, at }
    findings.splice(before + MOST_FINDINGS)
  }

  startOver(): void {
    this.#last = undefined
  }
}
