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
  let filled = 0
  for (let block = 0; filled < count; block++) {
    const words = philox4x32([block, 0, 0, 0], [seed, 0])
    const u = uniform(words[0], words[1])
    const v = uniform(words[2], words[3])
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

type Words4 = [number, number, number, number]

/** Ten rounds of Philox on four 32-bit words. */
export function philox4x32(counter: Words4, key: [number, number]): Words4 {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0)
    const low0 = Math.imul(0xd2511f53, c0)
    const high1 = multiplyHigh(0xcd9e8d57, c2)
    const low1 = Math.imul(0xcd9e8d57, c2)
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1 >>> 0
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0 >>> 0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** Upper 32 bits of the product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const carry = aLow * bHigh + (middle & 0xffff)
  // Sums stay below 2³³, beyond what >>> may take.
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0
}

/** Uniform in [−1, 1) from 53 bits. */
const uniform = (high: number, low: number): number =>
  ((high >>> 5) * 67108864 + (low >>> 6)) / 4503599627370496 - 1

/** ln x for 0 < x < 1, by halving the exponent away and the series of 2·atanh((m−1)/(m+1)). */
function naturalLogarithm(x: number): number {
  let mantissa = x
  let exponent = 0
  while (mantissa < Math.SQRT1_2) {
    mantissa *= 2
    exponent--
  }
  const s = (mantissa - 1) / (mantissa + 1)
  const square = s * s
  let sum = 0
  for (let k = 23; k >= 1; k -= 2) sum = sum * square + 1 / k
  return 2 * s * sum + exponent * Math.LN2
}
