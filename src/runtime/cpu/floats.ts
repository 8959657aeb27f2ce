import { toFloat32 } from '../../storage/dtype.js'

/** Float types that the graphs hand each other: image embeddings, keys and values. 16-bit elements are held as bits. */
export const FLOATS = { float32: Float32Array, float16: Uint16Array } as const

export type Float = keyof typeof FLOATS

/** Elements of a float type, in float32. */
export function widened(elements: Float32Array | Uint16Array): Float32Array {
  if (elements instanceof Float32Array) return elements
  return toFloat32('F16', new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength))
}
