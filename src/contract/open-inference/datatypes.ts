import type { NdArray } from '../numpy.js'

/** Writes one element, little-endian. */
type Write = (view: DataView, at: number, value: number) => void

interface Datatype {
  /** NumPy's name of it. */
  readonly dtype: NdArray['dtype']
  /** Bytes of an element. */
  readonly size: number
  /** Absent where its elements come as bytes alone. */
  readonly write?: Write
  /** Bounds of whole numbers; absent for floats. */
  readonly range?: readonly [least: number, most: number]
}

/** The fixed-size datatypes of the Open Inference Protocol. BYTES has elements of any length. */
export const DATATYPES: Readonly<Record<string, Datatype>> = {
  BOOL: { dtype: '|b1', size: 1, write: (view, at, value) => view.setUint8(at, value), range: [0, 1] },
  UINT8: { dtype: '|u1', size: 1, write: (view, at, value) => view.setUint8(at, value), range: [0, 0xff] },
  UINT16: {
    dtype: '<u2',
    size: 2,
    write: (view, at, value) => view.setUint16(at, value, true),
    range: [0, 0xffff],
  },
  UINT32: {
    dtype: '<u4',
    size: 4,
    write: (view, at, value) => view.setUint32(at, value, true),
    range: [0, 0xffffffff],
  },
  UINT64: {
    dtype: '<u8',
    size: 8,
    write: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
    range: [0, Number.MAX_SAFE_INTEGER],
  },
  INT8: {
    dtype: '|i1',
    size: 1,
    write: (view, at, value) => view.setInt8(at, value),
    range: [-0x80, 0x7f],
  },
  INT16: {
    dtype: '<i2',
    size: 2,
    write: (view, at, value) => view.setInt16(at, value, true),
    range: [-0x8000, 0x7fff],
  },
  INT32: {
    dtype: '<i4',
    size: 4,
    write: (view, at, value) => view.setInt32(at, value, true),
    range: [-0x80000000, 0x7fffffff],
  },
  INT64: {
    dtype: '<i8',
    size: 8,
    write: (view, at, value) => view.setBigInt64(at, BigInt(value), true),
    range: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  },
  FP16: { dtype: '<f2', size: 2 },
  FP32: { dtype: '<f4', size: 4, write: (view, at, value) => view.setFloat32(at, value, true) },
  FP64: { dtype: '<f8', size: 8, write: (view, at, value) => view.setFloat64(at, value, true) },
}

/** The bytes of numbers that came as numbers. Throws an Error that says which one does not fit, or that none can. */
export function bytesOfNumbers(values: readonly unknown[], { size, write, range }: Datatype): Uint8Array {
  if (!write) throw new Error('has no form as numbers: send its bytes')
  const bytes = new Uint8Array(values.length * size)
  const view = new DataView(bytes.buffer)
  for (const [i, given] of values.entries()) {
    const value = typeof given === 'boolean' && range?.[1] === 1 ? Number(given) : given
    if (typeof value !== 'number') throw new Error(`must hold numbers, got ${kind(given)} as element ${i}`)
    if (range && !(Number.isInteger(value) && value >= range[0] && value <= range[1]))
      throw new Error(`must hold integers from ${range[0]} to ${range[1]}, got ${value} as element ${i}`)
    write(view, i * size, value)
  }
  return bytes
}

const kind = (value: unknown) => (value === null ? 'null' : typeof value)
