import type { GuardFinding } from '../../contract/guard.js'
import { type ErrorCode, TurboPiError } from '../../errors.js'

/** What a guard found and did not let pass. */
export class GuardRefusal extends TurboPiError {
  constructor(
    code: ErrorCode,
    readonly finding: GuardFinding,
    detail: string,
  ) {
    super(code, detail)
  }
}

const PAST: Readonly<Record<GuardFinding['kind'], string>> = {
  action_bounds: 'past the bound of the norm stats,',
  joint_position: 'past its limit of position,',
  joint_step: 'past its limit of one step,',
  first_action: 'past its limit of distance from the state,',
  seam: 'past its limit of distance from the chunk before,',
  state_bounds: 'far outside the norm stats, whose limit is',
  state_jump: 'a jump since the observation before; the limit is',
  state_stuck:
    'the number of observations in which it stood still, though actions were to move it; the limit is',
  joints_swapped: 'how well each follows the actions of the other, 1 at most; the limit is',
  camera_frozen: 'the number of seconds for which its picture has not changed; the limit is',
  camera_black: 'the brightness of its picture; the limit is',
}

/** A finding in words: "shoulder (rad) of row 0 is 0.3, past its limit of distance from the state, 0.1". */
export function described({ kind, joint, row, value, limit }: GuardFinding): string {
  return `${joint}${row === null ? '' : ` of row ${row}`} is ${value}, ${PAST[kind]} ${limit}`
}
