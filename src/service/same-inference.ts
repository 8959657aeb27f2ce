import { type Observation, type ObservationImage, payloadOf } from '../contract/observation.js'
import { type SamplingRequest, sameSampling, samplingKey } from '../families/pi0/sampling.js'

/** What is asked for, with the policy's defaults filled in: requests that mean the same are equal. */
export interface InferenceRequest {
  readonly observation: Observation
  readonly sampling: SamplingRequest
}

type Bytes = Uint8Array | Float64Array

const SAMPLES = 16

const bytesOf = ({ buffer, byteOffset, byteLength }: Bytes) => Buffer.from(buffer, byteOffset, byteLength)

/** One step of FNV-1a, on words instead of bytes. */
const mix = (hash: number, word: number) => Math.imul(hash ^ word, 0x01000193)

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
  for (const name in images) {
    const payload = payloadOf(images[name] as ObservationImage)
    let hash = payload.length
    for (let sample = 0; sample < SAMPLES; sample += 1) {
      hash = mix(hash, payload[Math.floor((payload.length * sample) / SAMPLES)] as number)
    }
    key += hash
  }
  return key
}

/** Exact: same fields, same bytes, same sampling. Deadlines do not count, they change no answer. */
export const isSameInference = (a: InferenceRequest, b: InferenceRequest): boolean =>
  sameSampling(a.sampling, b.sampling) &&
  a.observation.prompt === b.observation.prompt &&
  sameRecord(a.observation.state, b.observation.state, sameBytes) &&
  sameRecord(a.observation.images, b.observation.images, sameImage)

const sameBytes = (a: Bytes, b: Bytes) => a.byteLength === b.byteLength && bytesOf(a).equals(bytesOf(b))

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
