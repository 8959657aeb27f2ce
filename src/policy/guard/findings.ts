import { type GuardFinding, MOST_FINDINGS } from '../../contract/guard.js'
import { described, GuardRefusal } from './refusal.js'
import { type GuardMode, refuses } from './settings.js'

/** What the guards find in one action chunk. */
export class Findings {
  readonly list: GuardFinding[] = []
  count = 0

  constructor(private readonly mode: GuardMode) {}

  /** True when the action is to be brought to its limit. Throws ACTIONS_OUT_OF_BOUNDS when refusing. */
  clamps(finding: GuardFinding): boolean {
    if (refuses(this.mode))
      throw new GuardRefusal(
        'ACTIONS_OUT_OF_BOUNDS',
        finding,
        `${described(finding)}. Nothing was sent (--guard ${this.mode}).`,
      )
    this.count++
    if (this.list.length < MOST_FINDINGS) this.list.push(finding)
    return this.mode === 'clamp'
  }

  get clamped(): boolean {
    return this.mode === 'clamp' && this.count > 0
  }
}
