import { Float, type MsgpackValue, NdArray, NumpyScalar } from './numpy.js'

/**
 * Writes MessagePack byte for byte as openpi's Packer does: integers in their shortest form, other numbers as float64,
 * maps in their own order, NdArray with bin keys. Throws a TypeError for what the dialect cannot carry.
 */
export function encodeMsgpack(value: MsgpackValue): Uint8Array {
  const encoder = new Encoder()
  encoder.value(value)
  return encoder.finish()
}

/** The constant start of a packed array: a map of four, `__ndarray__` true, and the key `data`. */
const NDARRAY_HEAD = Buffer.concat([
  Buffer.from([0x84, 0xc4, 11]),
  Buffer.from('__ndarray__'),
  Buffer.from([0xc3, 0xc4, 4]),
  Buffer.from('data'),
])
const SCALAR_HEAD = Buffer.concat([
  Buffer.from([0x83, 0xc4, 13]),
  Buffer.from('__npgeneric__'),
  Buffer.from([0xc3, 0xc4, 4]),
  Buffer.from('data'),
])
const DTYPE_KEY = Buffer.concat([Buffer.from([0xc4, 5]), Buffer.from('dtype')])
const SHAPE_KEY = Buffer.concat([Buffer.from([0xc4, 5]), Buffer.from('shape')])

/** Letters from which on a text's length has a byte of its own. */
const SHORT = 32

class Encoder {
  #buffer = Buffer.allocUnsafe(2048)
  #at = 0

  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#at)
  }

  /** Room for `count` bytes; gives the place where they start. */
  #reserve(count: number): number {
    const start = this.#at
    const end = start + count
    if (end > this.#buffer.byteLength) {
      const grown = Buffer.allocUnsafeSlow(Math.max(end + 1024, this.#buffer.byteLength * 2))
      grown.set(this.#buffer.subarray(0, start))
      this.#buffer = grown
    }
    this.#at = end
    return start
  }

  #byte(value: number): void {
    const at = this.#reserve(1)
    this.#buffer[at] = value
  }

  #bytes(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.byteLength)
    this.#buffer.set(bytes, at)
  }

  value(value: MsgpackValue): void {
    if (value === null) this.#byte(0xc0)
    else if (typeof value === 'boolean') this.#byte(value ? 0xc3 : 0xc2)
    else if (typeof value === 'number') this.#number(value)
    else if (typeof value === 'string') this.#text(value)
    else if (typeof value === 'bigint') this.#bigint(value)
    else if (value instanceof Uint8Array) this.#binary(value)
    else if (value instanceof Float) this.#float64(value.value)
    else if (value instanceof NdArray) this.#ndarray(value)
    else if (value instanceof NumpyScalar) this.#scalar(value)
    else if (Array.isArray(value)) this.#array(value)
    else if (value instanceof Map) this.#map(value.size, value)
    else if (isRecord(value)) {
      const entries = Object.entries(value)
      this.#map(entries.length, entries)
    } else throw new TypeError(`MessagePack cannot carry ${typeof value}`)
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) this.#float64(value)
    else if (value >= 0) {
      if (value < 0x80) this.#byte(value)
      else if (value < 0x100) this.#tagged(0xcc, 1, value)
      else if (value < 0x10000) this.#tagged(0xcd, 2, value)
      else if (value < 0x100000000) this.#tagged(0xce, 4, value)
      else this.#bigint(BigInt(value))
    } else if (value >= -0x20) this.#byte(value & 0xff)
    else if (value >= -0x80) this.#tagged(0xd0, 1, value & 0xff)
    else if (value >= -0x8000) this.#tagged(0xd1, 2, value & 0xffff)
    else if (value >= -0x80000000) this.#tagged(0xd2, 4, value >>> 0)
    else this.#bigint(BigInt(value))
  }

  #bigint(value: bigint): void {
    if (value >= -0x80000000n && value <= 0xffffffffn) {
      this.#number(Number(value))
      return
    }
    const at = this.#reserve(9)
    this.#buffer[at] = value >= 0n ? 0xcf : 0xd3
    if (value >= 0n) this.#buffer.writeBigUInt64BE(value, at + 1)
    else this.#buffer.writeBigInt64BE(value, at + 1)
  }

  /** A type byte and an unsigned big-endian number of `width` bytes. */
  #tagged(tag: number, width: number, value: number): void {
    const at = this.#reserve(1 + width)
    this.#buffer[at] = tag
    this.#buffer.writeUIntBE(value, at + 1, width)
  }

  #float64(value: number): void {
    const at = this.#reserve(9)
    this.#buffer[at] = 0xcb
    this.#buffer.writeDoubleBE(value, at + 1)
  }

  #text(text: string): void {
    if (text.length < SHORT && this.#ascii(text)) return
    const length = Buffer.byteLength(text)
    if (length < 32) this.#byte(0xa0 | length)
    else this.#header(length, 0xd9, 0xda, 0xdb)
    const at = this.#reserve(length)
    this.#buffer.write(text, at, 'utf8')
  }

  /** Writes a short text if it is ASCII, as keys are: each call into Node.js costs as much as all of its letters. */
  #ascii(text: string): boolean {
    const at = this.#reserve(1 + text.length)
    this.#buffer[at] = 0xa0 | text.length
    for (let i = 0; i < text.length; i++) {
      const letter = text.charCodeAt(i)
      if (letter >= 0x80) {
        this.#at = at
        return false
      }
      this.#buffer[at + 1 + i] = letter
    }
    return true
  }

  #binary(bytes: Uint8Array): void {
    this.#header(bytes.byteLength, 0xc4, 0xc5, 0xc6)
    this.#bytes(bytes)
  }

  #header(length: number, tag8: number | undefined, tag16: number, tag32: number): void {
    if (tag8 !== undefined && length < 0x100) this.#tagged(tag8, 1, length)
    else if (length < 0x10000) this.#tagged(tag16, 2, length)
    else this.#tagged(tag32, 4, length)
  }

  #array(items: readonly MsgpackValue[]): void {
    if (items.length < 16) this.#byte(0x90 | items.length)
    else this.#header(items.length, undefined, 0xdc, 0xdd)
    for (const item of items) this.value(item)
  }

  #map(size: number, entries: Iterable<readonly [string, MsgpackValue]>): void {
    if (size < 16) this.#byte(0x80 | size)
    else this.#header(size, undefined, 0xde, 0xdf)
    for (const [key, value] of entries) {
      this.#text(key)
      this.value(value)
    }
  }

  #ndarray({ dtype, shape, data }: NdArray): void {
    this.#bytes(NDARRAY_HEAD)
    this.#binary(data)
    this.#bytes(DTYPE_KEY)
    this.#text(dtype)
    this.#bytes(SHAPE_KEY)
    this.#array(shape)
  }

  #scalar({ dtype, value }: NumpyScalar): void {
    this.#bytes(SCALAR_HEAD)
    this.value(dtype.includes('f') ? new Float(Number(value)) : value)
    this.#bytes(DTYPE_KEY)
    this.#text(dtype)
  }
}

/** A literal or what the decoder makes of a map, but no instance of a class. */
const isRecord = (value: unknown): value is Record<string, MsgpackValue> => {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}
