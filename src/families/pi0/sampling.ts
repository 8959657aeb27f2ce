import { TurboPiError } from '../../errors.js'
import type { ModelConfig } from './config.js'
import { type Continuation, sameContinuation } from './rtc/continuation.js'
import { continuationFault } from './rtc/continuation-check.js'

/** Most denoise steps of one inference. */
export const MAX_STEPS = 50

/** How the action chunk of one row is drawn from its prefix (network §3.7). */
export interface Sampling {
  /** Denoise steps, 1…MAX_STEPS. */
  readonly steps: number
  /** What it is denoised from: a seed (0…2³² − 1), or standard normal numbers [actionHorizon, actionDim]. */
  readonly noise: number | Float32Array
  /** Real-time chunking: how it continues the chunk before it. */
  readonly continuation?: Continuation | undefined
}

/** A sampling as it is asked for, steps filled in: without noise, a seed is drawn once nobody is found to share with. */
export type SamplingRequest = Omit<Sampling, 'noise'> & { readonly noise?: Sampling['noise'] | undefined }

/** The sampling of a request, with the seed from `drawSeed` where it brings no noise. */
export const drawn = ({ steps, noise, continuation }: SamplingRequest, drawSeed: () => number): Sampling => ({
  steps,
  noise: noise ?? drawSeed(),
  continuation,
})

/** A number that is equal for equal requests. */
export const samplingKey = ({ steps, noise }: SamplingRequest): number =>
  (typeof noise === 'number' ? noise : noise === undefined ? -1 : -2) * (MAX_STEPS + 1) + steps

/** Whether two requests mean the same, so that one inference answers both. */
export function sameSampling(a: SamplingRequest, b: SamplingRequest): boolean {
  if (a.steps !== b.steps || !sameContinuation(a.continuation, b.continuation)) return false
  if (!(a.noise instanceof Float32Array && b.noise instanceof Float32Array)) return a.noise === b.noise
  return bytesOf(a.noise).equals(bytesOf(b.noise))
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) =>
  Buffer.from(buffer, byteOffset, byteLength)

/** Whether two rows may share one engine call: all of its rows take their steps together. */
export const sameBatch = (a: Sampling, b: Sampling): boolean => a.steps === b.steps

/** One sampling a row, of numbers [batch, actionHorizon, actionDim]. */
export function samplingRows(noise: Float32Array, batch: number, steps: number): Sampling[] {
  const size = noise.length / batch
  return Array.from({ length: batch }, (_, row) => ({
    steps,
    noise: noise.subarray(row * size, (row + 1) * size),
  }))
}

const refuse = (detail: string) => new TurboPiError('RUNTIME_FAILED', detail)

/** Throws RUNTIME_FAILED unless `sampling` is that of one engine call of `batch` rows. */
export function checkSampling(sampling: readonly Sampling[], batch: number, config: ModelConfig): void {
  const { actionHorizon, actionDim } = config
  if (sampling.length !== batch)
    throw refuse(`a batch of ${batch} rows takes ${batch} samplings, got ${sampling.length}`)
  for (const [row, { steps, noise, continuation }] of sampling.entries()) {
    if (!Number.isInteger(steps) || steps < 1 || steps > MAX_STEPS)
      throw refuse(`row ${row}: steps must be an integer from 1 to ${MAX_STEPS}, got ${steps}`)
    if (!sameBatch(sampling[0]!, sampling[row]!))
      throw refuse(`rows of one call share their steps: row 0 has ${sampling[0]!.steps}, row ${row} ${steps}`)
    if (typeof noise === 'number') {
      if (!Number.isInteger(noise) || noise < 0 || noise > 0xffffffff)
        throw refuse(`row ${row}: the seed must be an integer from 0 to 4294967295, got ${noise}`)
    } else if (noise.length !== actionHorizon * actionDim)
      throw refuse(`row ${row}: noise has ${noise.length} numbers; expected ${actionHorizon}×${actionDim}`)
    const fault = continuation && continuationFault(continuation, config)
    if (fault) throw refuse(`row ${row}: ${fault.field} ${fault.detail}`)
  }
}
