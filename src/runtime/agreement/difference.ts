/** Differences of one kind of tensor from its reference. */
export interface Difference {
  max: number
  mean: number
}

/** What an engine of 16 or 8 bits may differ by from float32, in normalised actions. */
export const REDUCED_TOLERANCE: Difference = { max: 0.05, mean: 0.01 }

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
