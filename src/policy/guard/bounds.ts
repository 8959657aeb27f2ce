import type { GuardReport } from '../../contract/guard.js'
import type { FeatureStats } from '../norm-stats.js'

/** Where each number of a feature is expected to be. */
export interface Bounds {
  from: NonNullable<GuardReport['bounds']>
  low: Float64Array
  high: Float64Array
}

/**
 * [low − m, high + m] of statistics, m the margin times their distance: the 1st and 99th percentile, or the extremes where
 * there are no percentiles. Undefined when there is neither.
 */
export function boundsOf({ q01, q99, min, max }: FeatureStats, margin: number): Bounds | undefined {
  const from = q01 && q99 ? 'percentiles' : 'extremes'
  const [low, high] = from === 'percentiles' ? [q01, q99] : [min, max]
  if (!low || !high) return undefined
  // With the 1e-6 of the normalisation (network §4.3), so that a dimension that never moves has a margin too.
  const reach = high.map((value, i) => (value - low[i]! + 1e-6) * margin)
  return {
    from,
    low: low.map((value, i) => value - reach[i]!),
    high: high.map((value, i) => value + reach[i]!),
  }
}
