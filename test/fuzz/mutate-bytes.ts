import type { Random } from './random.js'

const EXTREMES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff]
const LONGEST = 2 ** 20

type Change = (bytes: Buffer, at: number, random: Random, other: Buffer) => Buffer

const CHANGES: readonly Change[] = [
  (bytes, at, random) => {
    if (at < bytes.length) bytes[at]! ^= 1 << random.below(8)
    return bytes
  },
  (bytes, at, random) => {
    if (at < bytes.length) bytes[at] = random.next()
    return bytes
  },
  (bytes, at, random) => {
    const width = random.of([1, 2, 4] as const)
    const value = random.of(EXTREMES) % 2 ** (8 * width)
    if (at + width > bytes.length) return bytes
    if (random.chance(0.5)) bytes.writeUIntLE(value, at, width)
    else bytes.writeUIntBE(value, at, width)
    return bytes
  },
  (bytes, at) => bytes.subarray(0, at),
  (bytes, at, random) => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(16))]),
  (bytes, at, random) =>
    Buffer.concat([
      bytes.subarray(0, at),
      Buffer.alloc(1 + random.below(16), random.next()),
      bytes.subarray(at),
    ]),
  (bytes, at, random) => {
    const from = random.below(bytes.length)
    const part = bytes.subarray(from, from + 1 + random.below(64))
    return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)])
  },
  (bytes, at, random, other) =>
    Buffer.concat([bytes.subarray(0, at), other.subarray(random.below(other.length))]),
]

/** A copy with one to four changes; `other` is another input to take pieces of. */
export function mutateBytes(input: Buffer, other: Buffer, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(input)
  for (let changes = 1 + random.below(4); changes > 0; changes -= 1)
    bytes = random.of(CHANGES)(bytes, random.below(bytes.length + 1), random, other)
  return bytes.subarray(0, LONGEST)
}
