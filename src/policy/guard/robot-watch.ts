import type { GuardFinding, GuardReport } from '../../contract/guard.js'
import { MOST_FINDINGS } from '../../contract/guard.js'
import type { Observation } from '../../contract/observation.js'
import { FrozenCameras } from './cameras.js'
import { Findings } from './findings.js'
import { described, GuardRefusal } from './refusal.js'
import type { SeamWatch } from './seam-watch.js'
import { type GuardMode, refuses } from './settings.js'
import type { StateWatch } from './state-watch.js'

/** Watches how the state follows the actions. */
interface MotionWatch {
  /** Adds what it finds. */
  see(state: Float64Array, at: number, findings: GuardFinding[]): void
  answer(actions: Float64Array, width: number): void
  startOver?(): void
}

const NO_WATCHES: readonly MotionWatch[] = []

export interface RobotWatches {
  /** Absent without statistics of the state: nothing is known of it then. */
  states?: StateWatch | undefined
  /** None where the embodiment does not say what actions move. */
  moving?: readonly MotionWatch[]
  /** Absent where no joint has such a limit. */
  seams?: SeamWatch | undefined
}

/** Throws OBSERVATION_INVALID for the first of what was found in an observation, when refusing. */
export function requirePassed([first]: readonly GuardFinding[], mode: GuardMode): void {
  if (!first || !refuses(mode)) return
  throw new GuardRefusal(
    'OBSERVATION_INVALID',
    first,
    `${described(first)}. Nothing was computed (--guard ${mode}).`,
  )
}

/** Watches the observations of one robot, one after another, and the chunks that answer them. */
export class RobotWatch {
  readonly #cameras = new FrozenCameras()

  /** `state` gives an observation's, in training joint space. */
  constructor(
    readonly mode: GuardMode,
    private readonly state: (observation: Observation) => Float64Array,
    private readonly watches: RobotWatches,
  ) {}

  /** What is odd about the next observation. Throws OBSERVATION_INVALID, also when refusing. */
  see(observation: Observation, at: number): GuardFinding[] {
    const { states, moving = NO_WATCHES } = this.watches
    const findings: GuardFinding[] = []
    if (states || moving.length > 0) {
      const state = this.state(observation)
      states?.see(state, at, findings)
      for (const watch of moving) watch.see(state, at, findings)
    }
    this.#cameras.see(observation.images, at, findings)
    requirePassed(findings, this.mode)
    return findings
  }

  /**
   * Watches the rows [rows, actionSize] that answer the observation seen last, and adds what was `odd` about it to their
   * report. `executed` is the row of the chunk before that was due at that observation, where it is known. The actions are
   * others where they were clamped. Throws ACTIONS_OUT_OF_BOUNDS when refusing.
   */
  answer(
    { actions, actionSize, guard }: { actions: Float64Array; actionSize: number; guard: GuardReport },
    odd: readonly GuardFinding[],
    executed: Float64Array | undefined,
    at: number,
  ): { actions: Float64Array; guard: GuardReport } {
    const { moving = NO_WATCHES, seams } = this.watches
    for (const watch of moving) watch.answer(actions, actionSize)
    if (!seams && odd.length === 0) return { actions, guard }
    const findings = new Findings(this.mode)
    const sent = seams?.join(actions, executed, at, findings) ?? actions
    return {
      actions: sent,
      guard: {
        outOfBounds: guard.outOfBounds + findings.count,
        clamped: guard.clamped || findings.clamped,
        bounds: guard.bounds,
        findings: [...odd, ...findings.list, ...guard.findings].slice(0, MOST_FINDINGS),
      },
    }
  }

  /** An episode begins, and the robot may stand elsewhere. */
  startOver(): void {
    const { states, moving = [], seams } = this.watches
    for (const watch of [states, seams, ...moving]) watch?.startOver?.()
  }
}
