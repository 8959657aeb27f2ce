import { toBfloat16 } from '../storage/dtype.js'

/**
 * 8-bit floats (e4m3: a sign, four bits of exponent with bias 7, three of fraction; ±448 at most, no infinity), and the
 * scales that a row of numbers is stored with in them. `--precision fp8` is made of these (docs/reference/fp8.md).
 */
const LARGEST = 448
const NOT_A_NUMBER = 0x7f
/** Exponent of the smallest normal number; below it numbers are multiples of 2⁻⁹. */
const LEAST_EXPONENT = -6

/** A number's bits, rounded to nearest, ties to even; what is larger than ±448 becomes that. */
export function toFloat8(value: number): number {
  if (Number.isNaN(value)) return NOT_A_NUMBER
  const sign = value < 0 || Object.is(value, -0) ? 0x80 : 0
  const magnitude = Math.min(Math.abs(value), LARGEST)
  const exponent = Math.max(LEAST_EXPONENT, Math.floor(Math.log2(magnitude)))
  const eighths = roundedToEven(magnitude / 2 ** (exponent - 3))
  // Sixteen eighths are the next exponent's first number, whose bits follow.
  return sign | ((exponent - LEAST_EXPONENT) * 8 + eighths)
}

function roundedToEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}

/** The number that 8 bits stand for. */
export function fromFloat8(bits: number): number {
  const sign = bits & 0x80 ? -1 : 1
  const exponent = (bits >> 3) & 0xf
  const fraction = bits & 7
  if ((bits & 0x7f) === NOT_A_NUMBER) return Number.NaN
  return exponent === 0
    ? sign * fraction * 2 ** (LEAST_EXPONENT - 3)
    : sign * (1 + fraction / 8) * 2 ** (exponent - 7)
}

/**
 * A row's scale is a power of two, so that dividing and multiplying by it rounds nothing: the power nearest to its largest
 * magnitude (upwards from 1.5 of one) times this. The largest number is then stored as 192 to 384.
 */
export const SCALE_OF_LARGEST = 2 ** -8
/** Taken for the largest magnitude of rows that have none as large, so that a row of zeros is stored as zeros. */
export const SMALLEST_LARGEST = 2 ** -100

const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

/** The scale of a row whose largest magnitude is given. */
export function scaleOf(largest: number): number {
  float[0] = Math.max(largest, SMALLEST_LARGEST)
  bits[0] = (bits[0]! + 0x400000) & 0x7f800000
  return float[0] * SCALE_OF_LARGEST
}

/** What every bfloat16 number becomes. */
let table: Float32Array | undefined

const tableOf = () =>
  Float32Array.from({ length: 2 ** 16 }, (_, upper) => {
    bits[0] = upper << 16
    return fromFloat8(toFloat8(float[0]!))
  })

/**
 * Rounds a matrix [inputs, outputs] in place, to bfloat16 and then to 8 bits with a scale an output, and gives it back.
 */
export function roundOutputs(matrix: Float32Array, outputs: number): Float32Array {
  table ??= tableOf()
  const largest = new Float32Array(outputs)
  const words = new Uint32Array(matrix.buffer, matrix.byteOffset, matrix.length)
  for (let at = 0, o = 0; at < matrix.length; at++, o = o + 1 === outputs ? 0 : o + 1) {
    words[at] = toBfloat16(matrix[at]!) << 16
    const magnitude = Math.abs(matrix[at]!)
    if (magnitude > largest[o]!) largest[o] = magnitude
  }
  const scales = largest.map(scaleOf)
  for (let at = 0, o = 0; at < matrix.length; at++, o = o + 1 === outputs ? 0 : o + 1) {
    matrix[at]! /= scales[o]!
    matrix[at] = table[words[at]! >>> 16]! * scales[o]!
  }
  return matrix
}
