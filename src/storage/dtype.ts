/** Element types of safetensors files, and their widening to float32 (IEEE 754 binary16, bfloat16). */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const

export type Dtype = keyof typeof DTYPE_BYTES

export function isDtype(name: unknown): name is Dtype {
  return typeof name === 'string' && Object.hasOwn(DTYPE_BYTES, name)
}

const wideBits = new Uint32Array(1)
const wideFloat = new Float32Array(wideBits.buffer)

/** binary16 bits to a number. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** A number to binary16 bits, rounded to nearest, ties to even; overflow becomes infinity. */
export function toFloat16(value: number): number {
  wideFloat[0] = value
  const bits = wideBits[0]!
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00
  if (magnitude < 0x38800000) {
    // Subnormal in binary16: a multiple of 2^-24.
    const scaled = Math.abs(wideFloat[0]!) * 2 ** 24
    const floor = Math.floor(scaled)
    const rest = scaled - floor
    return sign | (rest > 0.5 || (rest === 0.5 && floor & 1) ? floor + 1 : floor)
  }
  const rebased = magnitude - 0x38000000
  return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13)
}

/** A number to bfloat16 bits, rounded to nearest, ties to even. */
export function toBfloat16(value: number): number {
  wideFloat[0] = value
  const bits = wideBits[0]!
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

/** Widens raw little-endian elements to float32; `bytes` must be aligned to the element size. */
export function toFloat32(dtype: Dtype, bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes
  const count = byteLength / DTYPE_BYTES[dtype]
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, count)
    case 'BF16': {
      const narrow = new Uint16Array(buffer, byteOffset, count)
      const wide = new Uint32Array(count)
      for (let i = 0; i < count; i++) wide[i] = narrow[i]! << 16
      return new Float32Array(wide.buffer)
    }
    case 'F16':
      return Float32Array.from(new Uint16Array(buffer, byteOffset, count), fromFloat16)
    case 'F64':
      return Float32Array.from(new Float64Array(buffer, byteOffset, count))
    case 'I64':
      return Float32Array.from(new BigInt64Array(buffer, byteOffset, count), Number)
    case 'I32':
      return Float32Array.from(new Int32Array(buffer, byteOffset, count))
    case 'I16':
      return Float32Array.from(new Int16Array(buffer, byteOffset, count))
    case 'I8':
      return Float32Array.from(new Int8Array(buffer, byteOffset, count))
    default:
      return Float32Array.from(bytes)
  }
}
