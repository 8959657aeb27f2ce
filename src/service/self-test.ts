import type { Observation, ObservationImage } from '../contract/observation.js'
import type { Policy } from '../policy/policy.js'

/** A black picture is one that a guard may refuse. */
const GREY = 128

/** An observation that fits the policy's spec: every camera grey, every state number 0. */
export function syntheticObservation(policy: Policy): Observation {
  const { spec, model } = policy
  const side = model.vision.imageSize
  const images: Record<string, ObservationImage> = {}
  for (const camera of spec.cameras) {
    const shape = camera.layout === 'chw' ? [3, side, side] : [side, side, 3]
    images[camera.key] = {
      kind: 'array',
      dtype: 'uint8',
      shape,
      data: new Uint8Array(side * side * 3).fill(GREY),
    }
  }
  const state = Object.fromEntries(spec.state.map(({ key, size }) => [key, new Float64Array(size)]))
  return { images, state, prompt: spec.prompt.default ?? 'self-test' }
}
