import { type Static, Type } from 'typebox'

/** A distribution of milliseconds: the percents of its values that are at most so large, in ascending order. */
export const TimesSchema = Type.Array(
  Type.Tuple([Type.Number({ minimum: 0, maximum: 100 }), Type.Number({ minimum: 0 })]),
  { minItems: 1 },
)
export type Times = Static<typeof TimesSchema>

/** Percents that tell a distribution well enough: its middle, and its tail. */
const PERCENTS = [0, 10, 25, 50, 75, 90, 95, 99, 100]

/** The value at a share 0…1 of a distribution; between its points along straight lines. */
export function quantile(times: Times, share: number): number {
  const percent = 100 * share
  const above = times.findIndex(([at]) => at >= percent)
  if (above < 0) return times.at(-1)![1]
  const [to, high] = times[above]!
  if (above === 0) return high
  const [from, low] = times[above - 1]!
  return low + ((high - low) * (percent - from)) / (to - from)
}

/** The distribution of measured values, to 1 µs. */
export function timesOf(values: readonly number[]): Times {
  const sorted = values.toSorted((a, b) => a - b)
  return PERCENTS.map(percent => [percent, Math.round(1000 * percentile(sorted, percent)) / 1000])
}

/** Of ascending values, the least that `percent` of them are at most; NaN of none. */
export function percentile(sorted: ArrayLike<number>, percent: number): number {
  if (sorted.length === 0) return Number.NaN
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]!
}

/** Where half and 99 % of the delays lie of a log-normal distribution, as delays of networks are. */
export interface Delay {
  p50: number
  p99: number
}

/** The standard normal distribution's 99th percentile. */
const NORMAL_P99 = 2.3263478740408408

/** A delay for a standard normal number. */
export const delayed = ({ p50, p99 }: Delay, normal: number): number =>
  p50 === 0 ? 0 : p50 * Math.exp((normal * Math.log(p99 / p50)) / NORMAL_P99)
