/** Differences of one kind of tensor from its reference. */
export interface Difference {
  max: number
  mean: number
}

/** Largest and mean absolute difference; NaN on either side makes both NaN, which no tolerance passes. */
export function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): Difference {
  if (actual.length !== expected.length) return { max: Number.NaN, mean: Number.NaN }
  let max = 0
  let sum = 0
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(actual[i]! - expected[i]!)
    sum += d
    if (!(d <= max)) max = d
  }
  return Number.isNaN(sum)
    ? { max: sum, mean: sum }
    : { max, mean: expected.length ? sum / expected.length : 0 }
}
