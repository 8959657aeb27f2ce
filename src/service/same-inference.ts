import type { InferOptions, Observation, ObservationImage } from '../contract/observation.js'

type Bytes = Uint8Array | Float32Array | Float64Array

const SAMPLES = 16

const bytesOf = ({ buffer, byteOffset, byteLength }: Bytes) => Buffer.from(buffer, byteOffset, byteLength)

const payloadOf = (image: ObservationImage): Bytes => (image.kind === 'encoded' ? image.bytes : image.data)

/**
 * A cheap key for "could be the same inference": equal inferences have equal keys, and different ones rarely do. Of
 * images only the lengths and a few sampled bytes count, so a key costs microseconds whatever the frames weigh.
 */
export function candidateKey(observation: Observation, options: InferOptions): string {
  const parts: (string | number | undefined)[] = [
    observation.prompt,
    options.numSteps,
    options.seed,
    options.noise?.length,
    options.noise?.[0],
  ]
  for (const [key, state] of Object.entries(observation.state).sort(byName)) parts.push(key, ...state)
  for (const [key, image] of Object.entries(observation.images).sort(byName)) {
    const payload = payloadOf(image)
    parts.push(key, payload.length)
    for (let sample = 0; sample < SAMPLES; sample += 1) {
      parts.push(payload[Math.floor((payload.length * sample) / SAMPLES)])
    }
  }
  return parts.join('|')
}

/** Exact: same fields, same bytes, same steps, same seed or noise. Deadlines do not count, they change no answer. */
export function isSameInference(
  a: { observation: Observation; options: InferOptions },
  b: { observation: Observation; options: InferOptions },
): boolean {
  return (
    a.observation.prompt === b.observation.prompt &&
    a.options.numSteps === b.options.numSteps &&
    a.options.seed === b.options.seed &&
    sameOptional(a.options.noise, b.options.noise) &&
    sameRecord(a.observation.state, b.observation.state, sameBytes) &&
    sameRecord(a.observation.images, b.observation.images, sameImage)
  )
}

const byName = (a: [string, unknown], b: [string, unknown]) => (a[0] < b[0] ? -1 : 1)

const sameBytes = (a: Bytes, b: Bytes) => a.byteLength === b.byteLength && bytesOf(a).equals(bytesOf(b))

const sameOptional = (a: Bytes | undefined, b: Bytes | undefined) => (a && b ? sameBytes(a, b) : a === b)

function sameImage(a: ObservationImage, b: ObservationImage): boolean {
  if (a.kind === 'encoded' || b.kind === 'encoded') {
    return a.kind === 'encoded' && b.kind === 'encoded' && sameBytes(a.bytes, b.bytes)
  }
  return (
    a.dtype === b.dtype &&
    a.shape.length === b.shape.length &&
    a.shape.every((size, axis) => size === b.shape[axis]) &&
    sameBytes(a.data, b.data)
  )
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
