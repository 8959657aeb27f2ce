import { damaged } from './damage.js'

/** Reads the little-endian numbers of OCDBT's objects from front to back; a value past the end names the file. */
export class ByteReader {
  #position = 0
  readonly #view: DataView

  constructor(
    readonly path: string,
    private readonly data: Uint8Array,
  ) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  }

  get left(): number {
    return this.data.byteLength - this.#position
  }

  bytes(count: number): Uint8Array {
    return this.data.subarray(this.#advance(count), this.#position)
  }

  u8(): number {
    return this.data[this.#advance(1)]!
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true)
  }

  u64(): number {
    return Number(this.#view.getBigUint64(this.#advance(8), true))
  }

  /** An unsigned LEB128 of up to 64 bits; what no file can have, such as "no offset" (all bits set), loses its low bits. */
  varint(): number {
    let value = 0
    for (let factor = 1; factor < 2 ** 70; factor *= 128) {
      const byte = this.u8()
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
    }
    throw damaged(this.path, 'holds a number of more than 64 bits; it is damaged.')
  }

  /** A column: one varint for each of `count` entries. */
  varints(count: number): number[] {
    return Array.from({ length: this.atMost(count) }, () => this.varint())
  }

  /** A count of things that take at least a byte each; more than there are bytes is damage. */
  atMost(count: number): number {
    if (count > this.left)
      throw damaged(this.path, `lists ${count} entries in ${this.left} bytes; it is damaged.`)
    return count
  }

  #advance(count: number): number {
    if (count > this.left) throw damaged(this.path, 'ends within an entry; it is damaged, copy it again.')
    const start = this.#position
    this.#position += count
    return start
  }
}
