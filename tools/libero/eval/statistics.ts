/**
 * The exact McNemar test of paired outcomes: how likely it is, if neither setting is better, that the pairs in which one
 * alone succeeded are shared out at least as unevenly as `first` to `second`. Two-sided; 1 where no pair differs.
 */
export function mcnemar(first: number, second: number): number {
  const count = first + second
  let logChoose = 0
  let sum = 0
  for (let k = 0; k <= Math.min(first, second); k++) {
    if (k > 0) logChoose += Math.log((count - k + 1) / k)
    sum += Math.exp(logChoose - count * Math.LN2)
  }
  return Math.min(1, 2 * sum)
}

/** The smallest value that `share` of all values do not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!
}
