import { type Observation, type ObservationImage, payloadOf } from '../contract/observation.js'
import { type SamplingRequest, sameSampling, samplingKey } from '../families/pi0/sampling.js'
import { mix, sameBytes, sampledKey } from '../sampled-key.js'

/** What is asked for, with the policy's defaults filled in: requests that mean the same are equal. */
export interface InferenceRequest {
  readonly observation: Observation
  readonly sampling: SamplingRequest
}

/**
 * A cheap key for "could be the same inference": equal inferences have equal keys, and different ones rarely do. Of
 * images only the lengths and a few sampled bytes count, so a key costs microseconds whatever the frames weigh.
 */
export function inferenceKey({ observation: { prompt, state, images }, sampling }: InferenceRequest): number {
  let key = mix(samplingKey(sampling), prompt?.length ?? -1)
  // Sums, so that the order of the fields does not matter.
  for (const name in state) {
    const { buffer, byteOffset, length } = state[name] as Float64Array
    const words = new Uint32Array(buffer, byteOffset, 2 * length)
    let hash = 0
    for (const word of words) hash = mix(hash, word)
    key += hash
  }
  for (const name in images) key += sampledKey(payloadOf(images[name] as ObservationImage))
  return key
}

/** Exact: same fields, same bytes, same sampling. Deadlines do not count, they change no answer. */
export const isSameInference = (a: InferenceRequest, b: InferenceRequest): boolean =>
  sameSampling(a.sampling, b.sampling) &&
  a.observation.prompt === b.observation.prompt &&
  sameRecord(a.observation.state, b.observation.state, sameBytes) &&
  sameRecord(a.observation.images, b.observation.images, sameImage)

const sameImage = (a: ObservationImage, b: ObservationImage): boolean =>
  a.kind === b.kind && formOf(a) === formOf(b) && sameBytes(payloadOf(a), payloadOf(b))

/** What says how an image's bytes are read. */
function formOf(image: ObservationImage): string | undefined {
  if (image.kind === 'encoded') return undefined
  const { dtype, shape } = image.kind === 'array' ? image : image.array
  return `${dtype} ${shape.join(' ')}`
}

function sameRecord<T>(
  a: Readonly<Record<string, T>>,
  b: Readonly<Record<string, T>>,
  same: (a: T, b: T) => boolean,
): boolean {
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length &&
    keys.every(key => Object.hasOwn(b, key) && same(a[key] as T, b[key] as T))
  )
}
