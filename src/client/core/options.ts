import type { RtcRequest } from '../observation.js'

/** `options.rtc` of an observation, as it travels. */
export function rtcOf(rtc: RtcRequest): Record<string, unknown> {
  const named = {
    mode: rtc.mode,
    previous_chunk_id: rtc.previousChunkId,
    consumed: rtc.consumed,
    inference_delay: rtc.inferenceDelay,
    execution_horizon: rtc.executionHorizon,
    schedule: rtc.schedule,
    max_guidance_weight: rtc.maxGuidanceWeight,
  }
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined))
}

/** Noise as rows, one an action. */
export function rowsOf(noise: Float32Array, horizon: number): number[][] {
  const width = noise.length / horizon
  return Array.from({ length: horizon }, (_, row) => [...noise.subarray(row * width, (row + 1) * width)])
}
