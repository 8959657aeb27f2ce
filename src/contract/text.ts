import { isUtf8 } from 'node:buffer'
import { countOf } from './ndarray.js'
import type { NdArray } from './numpy.js'

/** Whether an array holds one NumPy unicode (`<U7`) or bytes (`|S7`) text. */
export const isText = ({ dtype, shape }: NdArray): boolean =>
  /^[<>|][US]\d{1,9}$/.test(dtype) && countOf(shape) === 1

/** The text of UTF-8 bytes, a byte order mark too; undefined for what is no UTF-8. */
export function textOfUtf8(bytes: Uint8Array): string | undefined {
  return isUtf8(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString() : undefined
}

/**
 * The text of an array that `isText` has found, without the zeros that NumPy fills an element up with; undefined for what is
 * no Unicode.
 */
export function textOf({ dtype, data }: NdArray): string | undefined {
  let end = data.byteLength
  while (end > 0 && data[end - 1] === 0) end--
  if (dtype[1] === 'S') return textOfUtf8(data.subarray(0, end))
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  let text = ''
  for (let at = 0; at < end; at += 4) {
    const point = view.getUint32(at, dtype[0] !== '>')
    if (point > 0x10ffff) return undefined
    text += String.fromCodePoint(point)
  }
  return text
}
