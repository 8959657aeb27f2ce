import { type GuardFinding, MOST_FINDINGS } from '../../contract/guard.js'
import type { Bounds } from './bounds.js'

/** Numbers of a state [names] that are far outside what the policy was trained on. */
export function watchState(
  state: Float64Array,
  { low, high }: Bounds,
  names: readonly string[],
): GuardFinding[] {
  const findings: GuardFinding[] = []
  for (const [i, value] of state.entries()) {
    const limit = value < low[i]! ? low[i]! : value > high[i]! ? high[i]! : undefined
    if (limit === undefined || findings.length === MOST_FINDINGS) continue
    findings.push({ kind: 'state_bounds', joint: names[i]!, row: null, value, limit })
  }
  return findings
}
