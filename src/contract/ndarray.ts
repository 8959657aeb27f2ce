import { shown } from './limits.js'
import type { NdArray } from './numpy.js'

type Reader = (view: DataView, offset: number, littleEndian: boolean) => number

const READERS: Record<string, [size: number, read: Reader]> = {
  b1: [1, (view, at) => view.getUint8(at)],
  u1: [1, (view, at) => view.getUint8(at)],
  i1: [1, (view, at) => view.getInt8(at)],
  u2: [2, (view, at, le) => view.getUint16(at, le)],
  i2: [2, (view, at, le) => view.getInt16(at, le)],
  u4: [4, (view, at, le) => view.getUint32(at, le)],
  i4: [4, (view, at, le) => view.getInt32(at, le)],
  u8: [8, (view, at, le) => Number(view.getBigUint64(at, le))],
  i8: [8, (view, at, le) => Number(view.getBigInt64(at, le))],
  f2: [2, (view, at, le) => half(view.getUint16(at, le))],
  f4: [4, (view, at, le) => view.getFloat32(at, le)],
  f8: [8, (view, at, le) => view.getFloat64(at, le)],
}

/** IEEE 754 binary16. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** Elements of a numeric array of any byte order, in C order. Throws an Error that says what is wrong with the array. */
export function numbersOf(array: NdArray): Float64Array {
  const reader = READERS[array.dtype.slice(1)]
  if (!reader) throw new Error(`must be numeric, got dtype ${shown(array.dtype)}`)
  const [size, read] = reader
  const count = countOf(array.shape)
  if (array.data.byteLength !== count * size)
    throw new Error(`must hold ${count} × ${size} bytes for its shape, got ${array.data.byteLength}`)
  const view = new DataView(array.data.buffer, array.data.byteOffset, array.data.byteLength)
  const littleEndian = array.dtype[0] !== '>'
  const values = new Float64Array(count)
  for (let i = 0; i < count; i++) values[i] = read(view, i * size, littleEndian)
  return values
}

/** Elements of an array of this shape. */
export const countOf = (shape: readonly number[]): number =>
  shape.reduce((product, side) => product * side, 1)
