import type { GuardFinding } from '../../contract/guard.js'
import type { Observation } from '../../contract/observation.js'
import { TurboPiError } from '../../errors.js'
import { FrozenCameras } from './cameras.js'
import type { GuardMode } from './settings.js'
import type { StateWatch } from './state-watch.js'

/** Watches the observations of one robot, one after another. */
export class ObservationWatch {
  readonly #cameras = new FrozenCameras()

  /** `state` gives an observation's, in training joint space; without statistics of it nothing is known of states. */
  constructor(
    private readonly mode: GuardMode,
    private readonly states: StateWatch | undefined,
    private readonly state: (observation: Observation) => Float64Array,
  ) {}

  /** What is odd about the next observation. Throws OBSERVATION_INVALID, also when refusing. */
  see(observation: Observation, at: number): GuardFinding[] {
    const findings = [
      ...(this.states?.see(this.state(observation), at) ?? []),
      ...this.#cameras.see(observation.images, at),
    ]
    const [first] = findings
    if (first && this.mode === 'refuse')
      throw new TurboPiError(
        'OBSERVATION_INVALID',
        `${first.joint}: ${WHAT[first.kind]} (${first.value}, limit ${first.limit}). Nothing was computed (--guard refuse).`,
      )
    return findings
  }
}

const WHAT: Partial<Readonly<Record<GuardFinding['kind'], string>>> = {
  state_bounds: 'far outside the norm stats',
  state_jump: 'jumped since the observation before',
  camera_frozen: 'the picture has not changed for so many seconds',
}
