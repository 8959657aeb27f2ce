import type { ModelConfig } from '../config.js'
import type { Continuation } from './continuation.js'

/** What is wrong with a continuation: the part, as requests name it, and what was expected of it. */
export interface ContinuationFault {
  field: 'mode' | 'previous_chunk' | 'inference_delay' | 'execution_horizon' | 'max_guidance_weight'
  detail: string
}

/** The first thing that keeps `config`'s network from continuing a chunk so (rtc §1, §5). */
export function continuationFault(
  continuation: Continuation,
  { actionHorizon, actionDim, trainedDelay }: ModelConfig,
): ContinuationFault | undefined {
  const { previous, inferenceDelay: delay } = continuation
  const fault = (field: ContinuationFault['field'], detail: string) => ({ field, detail })
  const rows = previous.length / actionDim
  if (!Number.isInteger(rows)) return fault('previous_chunk', `must have rows of ${actionDim} numbers`)
  // Under weight 0, too: 0 times what is not finite is not 0.
  if (!previous.every(Number.isFinite))
    return fault('previous_chunk', 'must be finite in float32 once it is normalised')
  if (!isCount(delay)) return fault('inference_delay', `must be an integer from 0 on, got ${delay}`)
  if (continuation.mode === 'guided') {
    const { executionHorizon: horizon, maxGuidanceWeight: weight } = continuation
    if (!isCount(horizon)) return fault('execution_horizon', `must be an integer from 0 on, got ${horizon}`)
    if (!(weight > 0 && weight < Infinity))
      return fault('max_guidance_weight', `must be a positive number, got ${weight}`)
    return undefined
  }
  if (trainedDelay === 0)
    return fault(
      'mode',
      'is trained, but this checkpoint was not trained to be given rows (its config.json has no rtc_training_max_delay); use guided',
    )
  if (delay > trainedDelay)
    return fault('inference_delay', `must be at most ${trainedDelay}, as it was trained with, got ${delay}`)
  if (delay >= actionHorizon)
    return fault('inference_delay', `must be less than the horizon of ${actionHorizon} rows, got ${delay}`)
  if (rows < delay)
    return fault('inference_delay', `is ${delay}, but only ${rows} rows of the previous chunk are left`)
  return undefined
}

const isCount = (value: number) => Number.isInteger(value) && value >= 0
