import type { Continuation, Guided } from './continuation.js'
import { guidanceWeight } from './guidance-weight.js'
import { prefixWeights } from './prefix-weights.js'

/** Factors of one row of actions at one step. */
export const FACTORS = 3

/** One row of a batch, as far as it is asked here. */
type Row = { readonly continuation?: Continuation | undefined }

interface ChunkSize {
  horizon: number
  actionDim: number
}

/**
 * What every denoise step does with each row of actions, [steps, batch, horizon, 3]: the factors of x, of the velocity and
 * of the target, whose sum is the next x.
 *
 * Plain: 1, −1/N, 0. Guided, with the pull p = W·g(t)/N: the Euler step with the velocity corrected towards the previous
 * chunk, x − v/N + p·(target − (x − t·v)), collected (rtc §1). A row that is given: 1, 0, 0; it stays, and counts as time
 * 0 in a network that was trained so (rtc §5).
 */
export function stepUpdates(
  batch: readonly Row[],
  times: readonly number[],
  { horizon, actionDim }: ChunkSize,
): Float32Array {
  const steps = times.length
  const updates = new Float32Array(steps * batch.length * horizon * FACTORS)
  const held = batch.map(({ continuation: row }) =>
    row?.mode === 'guided' ? weightsOf(row, horizon, actionDim) : new Float64Array(horizon),
  )
  let at = 0
  for (let step = 0; step < steps; step++) {
    const time = times[step]!
    for (const [b, { continuation: row }] of batch.entries()) {
      const given = row?.mode === 'trained' ? row.inferenceDelay : 0
      const strength = row?.mode === 'guided' ? guidanceWeight(time, row.maxGuidanceWeight) / steps : 0
      for (let i = 0; i < horizon; i++) {
        const pull = held[b]![i]! * strength
        updates[at++] = 1 - pull
        updates[at++] = i < given ? 0 : pull * time - 1 / steps
        updates[at++] = pull
      }
    }
  }
  return updates
}

/** The previous chunk holds no row that it does not have. */
function weightsOf(guided: Guided, horizon: number, actionDim: number): Float64Array {
  const left = guided.previous.length / actionDim
  const executionHorizon = Math.min(guided.executionHorizon, left)
  return prefixWeights({ ...guided, executionHorizon }, horizon)
}

/** What the guided rows are drawn to, [batch, horizon, actionDim]: the previous chunks, padded with zeros. */
export function stepTargets(batch: readonly Row[], { horizon, actionDim }: ChunkSize): Float32Array {
  const size = horizon * actionDim
  const targets = new Float32Array(batch.length * size)
  for (const [b, { continuation: row }] of batch.entries())
    if (row?.mode === 'guided') targets.set(row.previous.subarray(0, size), b * size)
  return targets
}

/** Puts the rows that are given into the noise [batch, horizon, actionDim] that the denoising starts from. */
export function giveRows(
  noise: Float32Array,
  batch: readonly Row[],
  { horizon, actionDim }: ChunkSize,
): void {
  for (const [b, { continuation: row }] of batch.entries())
    if (row?.mode === 'trained')
      noise.set(row.previous.subarray(0, row.inferenceDelay * actionDim), b * horizon * actionDim)
}
