import type { Sampling } from '../families/pi0/sampling.js'

/** The numbers that the rows of one call are denoised from: [rows, size]. */
export function drawNoise(sampling: readonly Sampling[], size: number): Float32Array {
  const numbers = new Float32Array(sampling.length * size)
  for (const [row, { noise }] of sampling.entries())
    numbers.set(typeof noise === 'number' ? seededNoise(noise, size) : noise, row * size)
  return numbers
}

/**
 * Standard normal noise from a 32-bit seed: Philox4x32-10 (Salmon et al. 2011) with key (seed, 0) and a block counter,
 * two 53-bit uniforms a block, Marsaglia's polar method. The logarithm is our own, of additions, multiplications and
 * divisions alone, so that the same seed gives the same float32 numbers on every machine and engine: Math.log and
 * Math.cos may differ in the last bit between them.
 */
export function seededNoise(seed: number, count: number): Float32Array {
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff)
    throw new RangeError(`The seed must be an integer from 0 to 4294967295, got ${seed}`)
  const noise = new Float32Array(count)
  const words = new Int32Array(4)
  let filled = 0
  for (let block = 0; filled < count; block++) {
    words[0] = block
    words[1] = words[2] = words[3] = 0
    philox4x32(words, seed, 0)
    const u = uniform(words[0] as number, words[1] as number)
    const v = uniform(words[2] as number, words[3] as number)
    const square = u * u + v * v
    if (square >= 1 || square === 0) continue
    const factor = Math.sqrt((-2 * naturalLogarithm(square)) / square)
    noise[filled++] = u * factor
    if (filled < count) noise[filled++] = v * factor
  }
  return noise
}

/** A seed for a caller that gave none. */
export const randomSeed = (): number => Math.floor(Math.random() * 2 ** 32)

/** Ten rounds of Philox on a counter of four 32-bit words, which the result replaces. */
export function philox4x32(words: Int32Array, key0: number, key1: number): void {
  let c0 = words[0] as number
  let c1 = words[1] as number
  let c2 = words[2] as number
  let c3 = words[3] as number
  let k0 = key0 | 0
  let k1 = key1 | 0
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0)
    const low0 = Math.imul(0xd2511f53, c0)
    const high1 = multiplyHigh(0xcd9e8d57, c2)
    const low1 = Math.imul(0xcd9e8d57, c2)
    c0 = high1 ^ c1 ^ k0
    c1 = low1
    c2 = high0 ^ c3 ^ k1
    c3 = low0
    k0 = (k0 + 0x9e3779b9) | 0
    k1 = (k1 + 0xbb67ae85) | 0
  }
  words[0] = c0
  words[1] = c1
  words[2] = c2
  words[3] = c3
}

/** Upper 32 bits of the product of two unsigned 32-bit numbers, in integer arithmetic alone. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const across = Math.imul(aHigh, bLow)
  const down = Math.imul(aLow, bHigh)
  const carry = (Math.imul(aLow, bLow) >>> 16) + (across & 0xffff) + (down & 0xffff)
  return (Math.imul(aHigh, bHigh) + (across >>> 16) + (down >>> 16) + (carry >>> 16)) | 0
}

/** Uniform in [−1, 1) from 53 bits. */
const uniform = (high: number, low: number): number =>
  ((high >>> 5) * 67108864 + (low >>> 6)) / 4503599627370496 - 1

/** ln x for 0 < x < 1, by halving the exponent away and twelve terms of the series of 2·atanh((m−1)/(m+1)). */
function naturalLogarithm(x: number): number {
  let mantissa = x
  let exponent = 0
  while (mantissa < Math.SQRT1_2) {
    mantissa *= 2
    exponent--
  }
  const s = (mantissa - 1) / (mantissa + 1)
  const q = s * s
  const low = ((((((1 / 23) * q + 1 / 21) * q + 1 / 19) * q + 1 / 17) * q + 1 / 15) * q + 1 / 13) * q + 1 / 11
  const sum = ((((low * q + 1 / 9) * q + 1 / 7) * q + 1 / 5) * q + 1 / 3) * q + 1
  return 2 * s * sum + exponent * Math.LN2
}
