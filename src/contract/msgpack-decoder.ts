import { isAscii, isUtf8 } from 'node:buffer'
import { reasonOf, TurboPiError } from '../errors.js'
import { MESSAGE_LIMITS, type MessageLimits, shown } from './limits.js'
import { numbersOf } from './ndarray.js'
import { itemSizeOf, type MsgpackValue, NdArray } from './numpy.js'

/** Bytes from which on a check by the processor's vectors is worth its call. */
const LONG = 64

/** A map without inherited keys, not even `__proto__`. Object.create(null) would give a hash table, several times slower. */
class Entries {
  [key: string]: MsgpackValue
}
Reflect.deleteProperty(Entries.prototype, 'constructor')
Object.setPrototypeOf(Entries.prototype, null)

/** A key of openpi's arrays, which are bin of fewer than 256 bytes. */
const arrayKey = (name: string) => Buffer.from([0xc4, name.length, ...Buffer.from(name)])

/** What stands before the bytes of an array, its dtype and its shape, as openpi's Packer orders them. */
const BEFORE_DATA = Buffer.concat([arrayKey('__ndarray__'), Buffer.from([0xc3]), arrayKey('data')])
const BEFORE_DTYPE = arrayKey('dtype')
const BEFORE_SHAPE = arrayKey('shape')

/**
 * Reads one MessagePack message in openpi's msgpack-numpy dialect (network §5), or in that of the package msgpack-numpy. Maps become objects without
 * inherited keys, arrays of NumPy become NdArray (no copy), NumPy scalars their plain value, bin a Uint8Array (no copy);
 * integers beyond 2⁵³ become bigint. Throws BODY_MALFORMED for anything else than one complete message within `limits`.
 */
export function decodeMsgpack(bytes: Uint8Array, limits: Partial<MessageLimits> = {}): MsgpackValue {
  return new Decoder(bytes, { ...MESSAGE_LIMITS, ...limits }).message()
}

class Decoder {
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #limits: MessageLimits
  #at = 0
  #values = 0

  constructor(bytes: Uint8Array, limits: MessageLimits) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#limits = limits
  }

  message(): MsgpackValue {
    const value = this.#value(0)
    if (this.#at !== this.#bytes.byteLength)
      throw this.#malformed(`${this.#bytes.byteLength - this.#at} bytes follow the message`)
    return value
  }

  #malformed(detail: string): TurboPiError {
    return new TurboPiError('BODY_MALFORMED', `MessagePack, byte ${this.#at}: ${detail}.`)
  }

  /** Moves past `count` bytes and gives the place where they start. */
  #take(count: number): number {
    const start = this.#at
    if (count > this.#bytes.byteLength - start)
      throw this.#malformed(
        `${count} bytes expected, the message ends after ${this.#bytes.byteLength - start}`,
      )
    this.#at = start + count
    return start
  }

  #value(depth: number): MsgpackValue {
    if (++this.#values > this.#limits.maxValues)
      throw this.#malformed(`more than ${this.#limits.maxValues} values in one message`)
    const tag = this.#bytes[this.#take(1)] as number
    if (tag < 0x80) return tag
    if (tag >= 0xe0) return tag - 0x100
    if (tag < 0x90) return this.#map(tag & 0x0f, depth)
    if (tag < 0xa0) return this.#array(tag & 0x0f, depth)
    if (tag < 0xc0) return this.#text(tag & 0x1f)
    switch (tag) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#binary(this.#length(tag - 0xc4))
      case 0xca:
        return this.#view.getFloat32(this.#take(4))
      case 0xcb:
        return this.#view.getFloat64(this.#take(8))
      case 0xcc:
        return this.#view.getUint8(this.#take(1))
      case 0xcd:
        return this.#view.getUint16(this.#take(2))
      case 0xce:
        return this.#view.getUint32(this.#take(4))
      case 0xcf:
        return narrow(this.#view.getBigUint64(this.#take(8)))
      case 0xd0:
        return this.#view.getInt8(this.#take(1))
      case 0xd1:
        return this.#view.getInt16(this.#take(2))
      case 0xd2:
        return this.#view.getInt32(this.#take(4))
      case 0xd3:
        return narrow(this.#view.getBigInt64(this.#take(8)))
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#length(tag - 0xd9))
      case 0xdc:
      case 0xdd:
        return this.#array(this.#length(tag - 0xdb), depth)
      case 0xde:
      case 0xdf:
        return this.#map(this.#length(tag - 0xdd), depth)
      default:
        throw this.#malformed(`type 0x${tag.toString(16)} is not accepted (extension types are not)`)
    }
  }

  /** A length of 1, 2 or 4 bytes. */
  #length(widthExponent: number): number {
    if (widthExponent === 0) return this.#view.getUint8(this.#take(1))
    return widthExponent === 1 ? this.#view.getUint16(this.#take(2)) : this.#view.getUint32(this.#take(4))
  }

  #binary(length: number): Uint8Array {
    const { buffer, byteOffset } = this.#bytes
    return new Uint8Array(buffer, byteOffset + this.#take(length), length)
  }

  #text(length: number): string {
    const start = this.#take(length)
    const end = start + length
    if (length < LONG) {
      let at = start
      while (at < end && (this.#bytes[at] as number) < 0x80) at++
      if (at === end) return this.#bytes.toString('latin1', start, end)
    }
    const text = this.#bytes.subarray(start, end)
    if (isAscii(text)) return text.toString('latin1')
    if (isUtf8(text)) return text.toString()
    throw this.#malformed('a string is not UTF-8')
  }

  #deeper(depth: number, count: number): number {
    if (depth >= this.#limits.maxDepth) throw this.#malformed(`nested deeper than ${this.#limits.maxDepth}`)
    if (count > this.#bytes.byteLength - this.#at)
      throw this.#malformed(
        `${count} entries announced, only ${this.#bytes.byteLength - this.#at} bytes left`,
      )
    return depth + 1
  }

  #array(count: number, depth: number): MsgpackValue[] {
    const inner = this.#deeper(depth, count)
    const items: MsgpackValue[] = []
    for (let i = 0; i < count; i++) items.push(this.#value(inner))
    return items
  }

  #map(count: number, depth: number): MsgpackValue {
    const inner = this.#deeper(depth, count)
    const packed = count === 4 ? this.#packed(inner) : undefined
    if (packed) return packed
    const entries = new Entries()
    for (let i = 0; i < count; i++) {
      const key = this.#key()
      if (entries[key] !== undefined)
        throw this.#malformed(`the key ${JSON.stringify(shown(key))} occurs twice in a map`)
      entries[key] = this.#value(inner)
    }
    if ('__ndarray__' in entries) return this.#ndarray(entries)
    if ('__npgeneric__' in entries) return this.#scalar(entries)
    if (typeof entries['nd'] === 'boolean' && 'type' in entries && 'data' in entries)
      return this.#published(entries)
    return entries
  }

  /** Keys are str or bin, as Python's unpackb accepts them. */
  #key(): string {
    const tag = this.#bytes[this.#take(1)] as number
    if (tag >= 0xa0 && tag < 0xc0) return this.#text(tag & 0x1f)
    if (tag >= 0xd9 && tag <= 0xdb) return this.#text(this.#length(tag - 0xd9))
    if (tag >= 0xc4 && tag <= 0xc6) return this.#text(this.#length(tag - 0xc4))
    throw this.#malformed('the keys of a map must be strings')
  }

  /**
   * An array as openpi packs it, which needs neither a map nor its keys. Undefined for what is otherwise, of which nothing has then
   * been read: it comes before anything that nests.
   */
  #packed(depth: number): NdArray | undefined {
    const start = this.#at
    if (!this.#passes(BEFORE_DATA) || !this.#isNext(0xc4, 0xc6)) return this.#back(start)
    const data = this.#binary(this.#length(this.#bytes[this.#take(1)]! - 0xc4))
    if (!this.#passes(BEFORE_DTYPE) || !this.#isNext(0xa0, 0xbf)) return this.#back(start)
    const dtype = this.#text(this.#bytes[this.#take(1)]! & 0x1f)
    if (!this.#passes(BEFORE_SHAPE)) return this.#back(start)
    this.#values += 3
    return this.#ndarray({ dtype, shape: this.#value(depth), data })
  }

  /** Moves past `expected`, if that comes next. */
  #passes(expected: Buffer): boolean {
    for (let i = 0; i < expected.length; i++) if (this.#bytes[this.#at + i] !== expected[i]) return false
    this.#at += expected.length
    return true
  }

  #isNext(from: number, to: number): boolean {
    const tag = this.#bytes[this.#at]
    return tag !== undefined && tag >= from && tag <= to
  }

  #back(start: number): undefined {
    this.#at = start
  }

  #ndarray({ dtype, shape, data }: Record<string, MsgpackValue>): NdArray {
    if (typeof dtype !== 'string' || !(data instanceof Uint8Array) || !isShape(shape))
      throw this.#malformed('a NumPy array needs "data" (bin), "dtype" (str) and "shape" (sizes)')
    let itemSize: number
    try {
      itemSize = itemSizeOf(dtype)
    } catch (error) {
      throw this.#malformed(reasonOf(error))
    }
    const expected = shape.reduce((product, side) => product * side, itemSize)
    if (data.byteLength !== expected)
      throw this.#malformed(
        `a NumPy array ${dtype} of shape [${shape.join(', ')}] takes ${expected} bytes, got ${data.byteLength}`,
      )
    return new NdArray(dtype, shape, data)
  }

  /** As the package msgpack-numpy of PyPI packs arrays and scalars; openpi's own dialect is another. */
  #published({ nd, type, kind, shape, data }: Record<string, MsgpackValue>): MsgpackValue {
    const plain = kind === undefined || kind === '' || (kind instanceof Uint8Array && kind.byteLength === 0)
    const dtype = type instanceof Uint8Array ? Buffer.from(type).toString('latin1') : type
    if (!plain || typeof dtype !== 'string')
      throw this.#malformed('a NumPy array of objects or records is not accepted')
    const array = this.#ndarray({
      dtype,
      shape: nd ? (shape as MsgpackValue) : [],
      data: data as MsgpackValue,
    })
    return nd || !NUMERIC.test(dtype) ? array : (numbersOf(array)[0] as number)
  }

  #scalar({ data }: Record<string, MsgpackValue>): MsgpackValue {
    if (typeof data !== 'number' && typeof data !== 'bigint' && typeof data !== 'boolean')
      throw this.#malformed('a NumPy scalar needs "data" that is a number or a boolean')
    return data
  }
}

const NUMERIC = /[biuf]\d$/

const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= 32 && value.every(side => Number.isSafeInteger(side) && side >= 0)

const narrow = (value: bigint): number | bigint =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
