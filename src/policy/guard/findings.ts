import { type GuardFinding, MOST_FINDINGS } from '../../contract/guard.js'
import { TurboPiError } from '../../errors.js'
import type { GuardMode } from './settings.js'

/** What the guards find in one action chunk. */
export class Findings {
  readonly list: GuardFinding[] = []
  count = 0

  constructor(private readonly mode: GuardMode) {}

  /** True when the action is to be brought to its limit. Throws ACTIONS_OUT_OF_BOUNDS when refusing. */
  clamps(finding: GuardFinding): boolean {
    const { kind, joint, row, value, limit } = finding
    if (this.mode === 'refuse')
      throw new TurboPiError(
        'ACTIONS_OUT_OF_BOUNDS',
        `${joint} of row ${row} is ${value}, past ${WHAT[kind]} ${limit}. Nothing was sent (--guard refuse).`,
      )
    this.count++
    if (this.list.length < MOST_FINDINGS) this.list.push(finding)
    return this.mode === 'clamp'
  }

  get clamped(): boolean {
    return this.mode === 'clamp' && this.count > 0
  }
}

const WHAT: Partial<Readonly<Record<GuardFinding['kind'], string>>> = {
  action_bounds: 'the bound of the norm stats,',
  joint_position: 'its limit of position,',
  joint_step: 'its limit of one step,',
  first_action: 'its limit of distance from the state,',
}
