import type { GuardFinding, GuardReport } from '../../contract/guard.js'
import { MOST_FINDINGS } from '../../contract/guard.js'
import type { Observation } from '../../contract/observation.js'
import { TurboPiError } from '../../errors.js'
import type { Embodiment } from '../embodiment.js'
import type { NormStats } from '../norm-stats.js'
import { requireFinite, watchBounds } from './action-bounds.js'
import { type Bounds, boundsOf } from './bounds.js'
import { Findings } from './findings.js'
import { hasLimits, jointNames, stateNames, watchJoints } from './joint-limits.js'
import { type MovedJoint, movedJoints } from './moved-joints.js'
import { RobotWatch } from './robot-watch.js'
import { SeamWatch } from './seam-watch.js'
import type { GuardSettings } from './settings.js'
import { StateWatch } from './state-watch.js'
import { StuckWatch } from './stuck-watch.js'
import { SwapWatch } from './swap-watch.js'

/**
 * Watches what goes into a policy and what comes out of it. It is no emergency stop: it knows nothing of the world, and what
 * moves a robot must have its own. Throws POLICY_INVALID when it is to do more than report and nothing gives it a limit.
 */
export class Guard {
  readonly #settings: GuardSettings
  readonly #embodiment: Embodiment
  readonly #actions: Bounds | undefined
  readonly #state: Bounds | undefined
  readonly #names: readonly string[]
  readonly #stateNames: readonly string[]
  readonly #moved: readonly MovedJoint[]

  constructor(stats: NormStats, settings: GuardSettings, embodiment: Embodiment) {
    this.#settings = settings
    this.#embodiment = embodiment
    this.#actions = boundsOf(stats.actions, settings.margin)
    this.#state = boundsOf(stats.state, settings.stateMargin)
    this.#names = jointNames(embodiment)
    const { joints = [] } = embodiment
    this.#moved = movedJoints(joints, this.#names, stats.state, stats.actions)
    this.#stateNames = stateNames(embodiment)
    if (settings.mode !== 'report' && !this.#actions && !hasLimits(joints))
      throw new TurboPiError(
        'POLICY_INVALID',
        `The guard is to ${settings.mode}, but the norm stats have neither q01 and q99 nor min and max, and embodiment ${embodiment.name} has no limits of joints. Give one of them, or leave the guard at report.`,
      )
  }

  /** For the doctor and the log. */
  get description(): string {
    const { mode } = this.#settings
    const from = { percentiles: 'q01 and q99', extremes: 'min and max' } as const
    const bounds = this.#actions
      ? `bounds from ${from[this.#actions.from]}`
      : 'no bounds, since the statistics have neither percentiles nor extremes'
    return `${mode}: ${bounds}${hasLimits(this.#embodiment.joints ?? []) ? ', limits of joints' : ''}`
  }

  /** For one robot; `state` gives an observation's, in training joint space. */
  watch(state: (observation: Observation) => Float64Array): RobotWatch {
    const { joints } = this.#embodiment
    return new RobotWatch(this.#settings.mode, state, {
      states: this.#state && new StateWatch(this.#state, this.#stateNames),
      moving: this.#moved.length > 0 ? [new StuckWatch(this.#moved), new SwapWatch(this.#moved)] : [],
      seams: joints?.some(({ seam }) => seam !== undefined) ? new SeamWatch(joints, this.#names) : undefined,
    })
  }

  /**
   * Watches rows in the space of the norm stats, then, when `toRobot` has brought them into the robot's, there. They are
   * changed in place when clamping. `seen` is what was found in the pictures. Throws ACTIONS_NOT_FINITE or ACTIONS_OUT_OF_BOUNDS.
   */
  chunk(
    actions: Float64Array,
    state: Float64Array,
    seen: readonly GuardFinding[],
    toRobot: () => void,
  ): GuardReport {
    const names = this.#names
    const findings = new Findings(this.#settings.mode)
    requireFinite(actions, names)
    if (this.#actions) watchBounds(actions, this.#actions, names, findings)
    toRobot()
    const { joints } = this.#embodiment
    if (joints) watchJoints(actions, joints, names, state, findings)
    return {
      outOfBounds: findings.count,
      clamped: findings.clamped,
      bounds: this.#actions?.from ?? null,
      findings: [...seen, ...findings.list].slice(0, MOST_FINDINGS),
    }
  }
}
