import { TurboPiError } from '../errors.js'
import { readJson } from '../storage/json-file.js'

/** Statistics of one feature, one number a dimension: mean and deviation, percentiles, or both. */
export interface FeatureStats {
  /** openpi always writes them; LeRobot's percentiles may stand alone. */
  mean?: Float64Array
  std?: Float64Array
  /** 1st and 99th percentiles; absent in statistics made for z-score alone. */
  q01?: Float64Array
  q99?: Float64Array
  /** Extremes, where the statistics have them. */
  min?: Float64Array
  max?: Float64Array
}

export interface NormStats {
  state: FeatureStats
  actions: FeatureStats
}

/** Reads openpi's norm_stats.json (network §2.3). Throws NORM_STATS_INVALID with the file and field. */
export function readNormStats(path: string): NormStats {
  if (path.endsWith('.safetensors')) throw lerobotStats(path)
  const parsed = readJson(path, 'NORM_STATS_INVALID')
  if (Object.keys(Object(parsed)).some(key => key.startsWith('observation.'))) throw lerobotStats(path)
  const root = (parsed as { norm_stats?: Record<string, unknown> } | null)?.norm_stats
  if (typeof root !== 'object' || root === null)
    throw invalid(path, 'expected {"norm_stats": {"state": …, "actions": …}}, as openpi writes it')
  return { state: featureStats(root, 'state', path), actions: featureStats(root, 'actions', path) }
}

function featureStats(root: Record<string, unknown>, feature: string, path: string): FeatureStats {
  const stats = root[feature]
  if (typeof stats !== 'object' || stats === null)
    throw invalid(
      path,
      `norm_stats.${feature} is missing; found ${Object.keys(root).join(', ') || 'nothing'}`,
    )
  const numbers = (name: string): Float64Array | undefined => {
    const value = (stats as Record<string, unknown>)[name]
    if (value === undefined || value === null) return undefined
    if (!Array.isArray(value) || !value.every(Number.isFinite))
      throw invalid(path, `norm_stats.${feature}.${name} must be a list of finite numbers`)
    return Float64Array.from(value as number[])
  }
  const mean = numbers('mean')
  const std = numbers('std')
  if (!mean || !std) throw invalid(path, `norm_stats.${feature} needs "mean" and "std"`)
  const [q01, q99] = [numbers('q01'), numbers('q99')]
  const [min, max] = [numbers('min'), numbers('max')]
  const found = { mean, std, ...(q01 && q99 && { q01, q99 }), ...(min && max && { min, max }) }
  return checkFeatureStats(found, `norm_stats.${feature}`, path)
}

/** Numbers of the feature that the statistics describe. */
export const sizeOfStats = ({ mean, q01 }: FeatureStats): number => (mean ?? q01)?.length ?? 0

/** Lengths agree, no deviation is negative and no percentile range is reversed. Throws NORM_STATS_INVALID. */
export function checkFeatureStats(stats: FeatureStats, feature: string, path: string): FeatureStats {
  const { mean, std, q01, q99, min, max } = stats
  const size = sizeOfStats(stats)
  for (const [name, values] of Object.entries({ std, q01, q99, min, max }))
    if (values && values.length !== size)
      throw invalid(
        path,
        `${feature}.${name} has ${values.length} numbers, ${mean ? 'mean' : 'q01'} has ${size}`,
      )
  const negative = std ? std.findIndex(value => value < 0) : -1
  if (negative >= 0) throw invalid(path, `${feature}.std[${negative}] is negative (${std?.[negative]})`)
  const reversed = q01 && q99 ? q01.findIndex((low, i) => low > (q99[i] as number)) : -1
  for (const [low, high] of [
    ['q01', 'q99'],
    ['min', 'max'],
  ] as const) {
    const [from, to] = [stats[low], stats[high]]
    if (!from || !to) continue
    const wide = from.findIndex((value, i) => !Number.isFinite((to[i] as number) - value))
    if (wide >= 0)
      throw invalid(
        path,
        `${feature}.${low}[${wide}] and ${high} are ${from[wide]} and ${to[wide]}: no range`,
      )
    if (from.length > 0 && from.every((value, i) => value === to[i]))
      throw invalid(
        path,
        `${feature}.${low} and ${high} are equal in every number: statistics of nothing that moved. Compute them over the robot's whole dataset`,
      )
  }
  if (reversed >= 0)
    throw invalid(path, `${feature}.q01[${reversed}] = ${q01?.[reversed]} is above q99 = ${q99?.[reversed]}`)
  return stats
}

/**
 * Statistics must describe exactly the robot's numbers. The only longer form that openpi itself writes is padded to the
 * network's width, and padding has mean zero. Throws NORM_STATS_INVALID.
 */
export function checkStatsLength(
  stats: FeatureStats,
  feature: 'state' | 'actions',
  size: number,
  paddedSize: number,
  path: string,
): void {
  const count = sizeOfStats(stats)
  const padded = count === paddedSize && stats.mean?.subarray(size).every(value => value === 0)
  if (count === size || padded) return
  throw invalid(
    path,
    `${feature} statistics have ${count} numbers, but this embodiment's ${feature} has ${size}` +
      `${count === paddedSize ? ' and the rest is not padding (its mean is not zero)' : ''}. ` +
      'They belong to another robot or dataset: give the right file with --norm-stats, or the right --config.',
  )
}

const lerobotStats = (path: string) =>
  invalid(
    path,
    "these are LeRobot's statistics, which are applied with other arithmetic; serve the LeRobot checkpoint's own folder, or give openpi's norm_stats.json",
  )

const invalid = (path: string, detail: string) => new TurboPiError('NORM_STATS_INVALID', `${path}: ${detail}`)
