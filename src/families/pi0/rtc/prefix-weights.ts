/** How the hold of the previous chunk on the new one lets go from the inference delay to the execution horizon. */
export const SCHEDULES = ['zeros', 'ones', 'linear', 'exp'] as const

export type Schedule = (typeof SCHEDULES)[number]

export interface PrefixSpan {
  schedule: Schedule
  /** Rows executed while the inference runs: they are held fully. */
  inferenceDelay: number
  /** First row that the previous chunk has no hold on; at most the rows that are left of it. */
  executionHorizon: number
}

/**
 * One weight in 0…1 for each of `rows` rows of a chunk: how strongly the row is drawn to the previous chunk (rtc §2). Rows
 * before the delay have 1, rows from the horizon on 0. Between them `zeros` gives 0, `ones` 1, `linear` a ramp that takes
 * neither end, `exp` the ramp u bent to u·(eᵘ − 1)/(e − 1).
 */
export function prefixWeights(span: PrefixSpan, rows: number): Float64Array {
  const end = Math.min(span.executionHorizon, rows)
  const start = Math.min(span.inferenceDelay, end)
  const weights = new Float64Array(rows).fill(1, 0, start)
  for (let row = start; row < end; row++)
    weights[row] = SHAPES[span.schedule](1 - (row - start + 1) / (end - start + 1))
  return weights
}

/** Weight on the ramp, which falls from 1 to 0. */
const SHAPES: Readonly<Record<Schedule, (ramp: number) => number>> = {
  zeros: () => 0,
  ones: () => 1,
  linear: ramp => ramp,
  exp: ramp => (ramp * Math.expm1(ramp)) / (Math.E - 1),
}
