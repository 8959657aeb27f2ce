import { TurboPiError } from '../errors.js'
import type { FeatureStats } from './norm-stats.js'

/** How values are brought into the network's range: by the 1st and 99th percentile, or by mean and deviation. */
export type Normalisation = 'quantile' | 'zscore'

/**
 * Whose arithmetic: openpi adds 1e-6 to every spread; LeRobot 1e-8, and to a quantile spread only where it is zero. LeRobot
 * normalises in float32: in float64 a joint that never moves, whose spread is next to nothing, would land in another bin.
 */
export type NormalisationConvention = 'openpi' | 'lerobot'

interface Scale {
  offset: Float64Array
  spread: Float64Array
  /** What un-normalising multiplies with: LeRobot leaves the epsilon of z-scores out there. */
  inverseSpread: Float64Array
}

/** Normalises and un-normalises one feature (network §2.3, §4.3), in float64 but where the convention says otherwise. Nothing is clipped. */
export class Normaliser {
  readonly size: number
  readonly #kind: Normalisation
  readonly #scale: Scale
  readonly #single: boolean

  /** Throws NORM_STATS_INVALID when the statistics that `kind` needs are missing. */
  constructor(stats: FeatureStats, kind: Normalisation, convention: NormalisationConvention = 'openpi') {
    this.#kind = kind
    this.#single = convention === 'lerobot'
    this.#scale = kind === 'quantile' ? quantileScale(stats, convention) : zscoreScale(stats, convention)
    this.size = this.#scale.offset.length
  }

  /** Values [n], n at most the length of the statistics. */
  normalise(values: Float64Array): Float64Array {
    if (values.length > this.size)
      throw new TurboPiError(
        'NORM_STATS_INVALID',
        `The statistics cover ${this.size} numbers, ${values.length} came.`,
      )
    const { offset, spread } = this.#scale
    const quantile = this.#kind === 'quantile'
    if (this.#single)
      return values.map((value, i) => single(value, offset[i] as number, spread[i] as number, quantile))
    return values.map((value, i) => {
      const scaled = (value - (offset[i] as number)) / (spread[i] as number)
      return quantile ? scaled * 2 - 1 : scaled
    })
  }

  /** A difference of values in normalised units. */
  normaliseDifference(values: Float64Array): Float64Array {
    const { spread } = this.#scale
    const factor = this.#kind === 'quantile' ? 2 : 1
    return values.map((value, i) => (factor * value) / (spread[i] as number))
  }

  /**
   * The first `kept` columns of rows [rows, width]. Columns past the statistics pass through (quantile) or count as mean 0,
   * deviation 1 (z-score). NumPy keeps float32 input in float32 for the quantile form's first two operations, and so does
   * this.
   */
  unnormalise(rows: Float32Array | Float64Array, width: number, kept = width): Float64Array {
    const { offset, inverseSpread } = this.#scale
    const quantile = this.#kind === 'quantile'
    const single = rows instanceof Float32Array
    const out = new Float64Array((rows.length / width) * kept)
    for (let i = 0; i < out.length; i++) {
      const column = i % kept
      const value = rows[((i - column) / kept) * width + column] as number
      if (column >= this.size) out[i] = quantile ? value : value * (1 + 1e-6)
      else {
        const share = single ? Math.fround(Math.fround(value + 1) / 2) : (value + 1) / 2
        out[i] = (quantile ? share : value) * (inverseSpread[column] as number) + (offset[column] as number)
      }
    }
    return out
  }
}

/** LeRobot's operations in their order, each rounded to float32. */
function single(value: number, offset: number, spread: number, quantile: boolean): number {
  const { fround } = Math
  const difference = fround(fround(value) - offset)
  if (!quantile) return fround(difference / fround(spread))
  return fround(fround(fround(2 * difference) / fround(spread)) - 1)
}

function zscoreScale({ mean, std }: FeatureStats, convention: NormalisationConvention): Scale {
  if (!mean || !std)
    throw new TurboPiError(
      'NORM_STATS_INVALID',
      'Z-score normalisation needs mean and std; these statistics have only q01 and q99. Compute them anew, or serve with a config that uses percentiles.',
    )
  const epsilon = convention === 'openpi' ? 1e-6 : Math.fround(1e-8)
  const spread = std.map(deviation => deviation + epsilon)
  return { offset: mean, spread, inverseSpread: convention === 'openpi' ? spread : std }
}

function quantileScale({ q01, q99 }: FeatureStats, convention: NormalisationConvention): Scale {
  if (!q01 || !q99)
    throw new TurboPiError(
      'NORM_STATS_INVALID',
      'Quantile normalisation needs q01 and q99; these statistics have only mean and std. Compute them anew, or serve with a config that uses z-score.',
    )
  const spread = q99.map((high, i) => {
    const range = high - (q01[i] as number)
    if (convention === 'openpi') return range + 1e-6
    return range === 0 ? 1e-8 : range
  })
  return { offset: q01, spread, inverseSpread: spread }
}
