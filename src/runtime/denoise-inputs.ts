import type { ModelConfig } from '../families/pi0/config.js'
import { giveRows, stepTargets, stepUpdates } from '../families/pi0/rtc/step-updates.js'
import type { Sampling } from '../families/pi0/sampling.js'
import { timeGrid } from '../families/pi0/time.js'
import { drawNoise } from './noise.js'

/** What the denoise graph takes of a batch besides its prefix and the time. */
export interface DenoiseInputs {
  steps: number
  /** Where the denoising starts, [batch, actionHorizon, actionDim]. */
  noise: Float32Array
  /** Factors of each step, [steps, batch, actionHorizon, 3]. */
  updates: Float32Array
  /** What guided rows are drawn to, [batch, actionHorizon, actionDim]. */
  targets: Float32Array
}

/** One sampling a row, of the same steps. */
export function denoiseInputs(sampling: readonly Sampling[], config: ModelConfig): DenoiseInputs {
  const { actionHorizon: horizon, actionDim } = config
  const { steps } = sampling[0]!
  const size = { horizon, actionDim }
  const noise = drawNoise(sampling, horizon * actionDim)
  giveRows(noise, sampling, size)
  return {
    steps,
    noise,
    updates: stepUpdates(sampling, timeGrid(steps, config.timeGrid), size),
    targets: stepTargets(sampling, size),
  }
}
