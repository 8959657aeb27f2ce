import { Decompress } from 'fzstd'
import { reasonOf } from '../../errors.js'
import type { Blob } from './blob.js'
import { damaged } from './damage.js'

const MAGIC = 0xfd2fb528
const LONGEST_HEADER = 18
const BLOCK_HEADER = 3
const CHECKSUM = 4
/** No block is larger, compressed or not (RFC 8878, section 3.1.1.2.3). */
const MAX_BLOCK = 2 ** 17
const RLE = 1

/**
 * Decodes one Zstandard frame block by block, so that a chunk of gigabytes needs memory for its window alone.
 * Orbax's frames name no size and carry no checksum: whoever reads knows how much must come.
 */
export class ZstdFrame {
  readonly #blob: Blob
  readonly #decoder: Decompress
  readonly #out: Uint8Array[] = []
  #position: number
  /** The headers of the frame and of its first block, until they were handed to the decoder. */
  #pending: Uint8Array
  #blockHeader: number
  readonly #hasChecksum: boolean
  #ended = false

  constructor(blob: Blob) {
    this.#blob = blob
    this.#decoder = new Decompress(piece => {
      if (piece.byteLength > 0) this.#out.push(piece)
    })
    const start = blob.read(0, Math.min(LONGEST_HEADER + BLOCK_HEADER, blob.byteLength))
    const view = new DataView(start.buffer)
    if (start.byteLength < 9 || view.getUint32(0, true) !== MAGIC)
      throw this.#broken('does not begin as a frame')
    const descriptor = start[4]!
    const single = (descriptor >> 5) & 1
    const sizeFlag = descriptor >> 6
    const header = 6 - single + [0, 1, 2, 4][descriptor & 3]! + (sizeFlag ? 2 ** sizeFlag : single)
    if (start.byteLength < header + BLOCK_HEADER) throw this.#broken('ends within its header')
    this.#hasChecksum = (descriptor & 4) !== 0
    this.#pending = start.subarray(0, header + BLOCK_HEADER)
    this.#blockHeader = header24(start, header)
    this.#position = header + BLOCK_HEADER
  }

  /** The next decoded bytes, or undefined after the last. */
  next(): Uint8Array | undefined {
    while (this.#out.length === 0 && !this.#ended) this.#decodeBlock()
    return this.#out.shift()
  }

  /**
   * Hands over one block and the header of the next one. The decoder always holds some bytes back that way; with none it
   * would keep every block that it was given.
   */
  #decodeBlock(): void {
    const last = (this.#blockHeader & 1) === 1
    const size = this.#blockHeader >> 3
    if (size > MAX_BLOCK) throw this.#broken(`has a block of ${size} bytes`)
    const length = ((this.#blockHeader >> 1) & 3) === RLE ? 1 : size
    const after = last ? (this.#hasChecksum ? CHECKSUM : 0) : BLOCK_HEADER
    const left = this.#blob.byteLength - this.#position - length - after
    if (left < 0) throw this.#broken('is cut short')
    if (last && left > 0) throw this.#broken(`is followed by ${left} bytes`)
    const bytes = this.#blob.read(this.#position, length + after)
    this.#position += length + after
    this.#ended = last
    if (!last) this.#blockHeader = header24(bytes, length)
    try {
      this.#decoder.push(this.#pending.byteLength ? Buffer.concat([this.#pending, bytes]) : bytes, last)
    } catch (error) {
      throw this.#broken(`cannot be decoded (${reasonOf(error)})`)
    }
    this.#pending = new Uint8Array()
  }

  #broken(what: string) {
    return damaged(this.#blob.path, `a Zstandard frame in it ${what}. The file is damaged: copy it again.`)
  }
}

const header24 = (bytes: Uint8Array, at: number) =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)

/** Decodes a whole frame of at most `limit` bytes. */
export function decodeZstd(blob: Blob, limit: number): Uint8Array {
  const frame = new ZstdFrame(blob)
  const pieces: Uint8Array[] = []
  let size = 0
  for (let piece = frame.next(); piece; piece = frame.next()) {
    size += piece.byteLength
    if (size > limit) throw damaged(blob.path, `decodes to more than ${limit} bytes.`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
