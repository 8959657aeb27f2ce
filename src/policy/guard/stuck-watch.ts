import type { GuardFinding } from '../../contract/guard.js'
import type { MovedJoint } from './moved-joints.js'

/** So many observations after answers that were to move a joint, over so long, find it where it was: it is stuck. */
export const STUCK_OBSERVATIONS = 10
const STUCK_MS = 1000

/** Shares of a joint's range: of its actions, what commands a motion; of its state, what is none. */
const COMMANDED = 0.05
const STILL = 0.001

interface Stand {
  /** The last answer was to move the joint. */
  commanded: boolean
  from: number
  since: number
  /** Observations since then before which it was to be moved. */
  count: number
}

/** Watches the joints of one robot that stand still while actions are to move them. */
export class StuckWatch {
  readonly #stands: Stand[]

  constructor(private readonly joints: readonly MovedJoint[]) {
    this.#stands = joints.map(() => ({ commanded: false, from: Number.NaN, since: 0, count: 0 }))
  }

  /** Adds the joints that are stuck. `state` is in training joint space, `at` in milliseconds of a clock that never goes back. */
  see(state: Float64Array, at: number, findings: GuardFinding[]): void {
    for (let i = 0; i < this.joints.length; i += 1) {
      const { index, name: joint, stateRange } = this.joints[i]!
      const stand = this.#stands[i]!
      const moved = Math.abs(state[index]! - stand.from)
      if (!(moved <= stateRange * STILL)) {
        stand.from = state[index]!
        stand.since = at
        stand.count = 0
        continue
      }
      if (!stand.commanded) continue
      stand.count += 1
      if (stand.count < STUCK_OBSERVATIONS || at - stand.since < STUCK_MS) continue
      const [value, limit] = [stand.count, STUCK_OBSERVATIONS]
      findings.push({ kind: 'state_stuck', joint, row: null, value, limit })
    }
  }

  /** Takes note of the rows [rows, width] that answer the observation seen last. */
  answer(actions: Float64Array, width: number): void {
    for (let i = 0; i < this.joints.length; i += 1) {
      const { index, moves, actionRange } = this.joints[i]!
      let low = moves === 'by' ? 0 : Infinity
      let high = -low
      for (let at = index; at < actions.length; at += width) {
        low = Math.min(low, actions[at]!)
        high = Math.max(high, actions[at]!)
      }
      this.#stands[i]!.commanded = high - low >= actionRange * COMMANDED
    }
  }
}
