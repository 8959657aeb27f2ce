/** One step of FNV-1a, on words instead of bytes. */
export const mix = (hash: number, word: number): number => Math.imul(hash ^ word, 0x01000193)

const SAMPLES = 16

/**
 * A cheap key for "could be the same bytes": the length and a few of them. Equal bytes have equal keys, and different ones
 * rarely do, so a look costs microseconds whatever a picture weighs; who finds an equal key compares them.
 */
export function sampledKey(bytes: Uint8Array): number {
  let hash = bytes.length
  for (let sample = 0; sample < SAMPLES; sample += 1)
    hash = mix(hash, bytes[Math.floor((bytes.length * sample) / SAMPLES)]!)
  return hash
}

type Bytes = Uint8Array | Float64Array | Int32Array

export const sameBytes = (a: Bytes, b: Bytes): boolean =>
  a.byteLength === b.byteLength && bytesOf(a).equals(bytesOf(b))

const bytesOf = ({ buffer, byteOffset, byteLength }: Bytes) => Buffer.from(buffer, byteOffset, byteLength)
