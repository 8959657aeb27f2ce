import type { Blob } from './blob.js'
import { damaged } from './damage.js'
import { ZstdFrame } from './zstd.js'

/** The decoded bytes of one chunk, read from front to back; going back starts it anew. */
export interface ChunkReader {
  /** Gives the bytes [first, end) piece by piece. */
  read(first: number, end: number): Generator<Uint8Array>
}

/** A chunk that was stored as it is. */
export function plainChunk(blob: Blob, byteLength: number): ChunkReader {
  if (blob.byteLength !== byteLength)
    throw damaged(
      blob.path,
      `holds a chunk of ${blob.byteLength} bytes; expected ${byteLength}. Copy it again.`,
    )
  return {
    *read(first, end) {
      for (let at = first; at < end; at += PIECE) yield blob.read(at, Math.min(PIECE, end - at))
    },
  }
}

const PIECE = 2 ** 20

/**
 * A compressed chunk. The decoder stays where the last reading ended, so that reading an array in order decodes it once,
 * with no more in memory than the frame's window.
 */
export class ZstdChunk implements ChunkReader {
  #frame: ZstdFrame | undefined
  /** The piece that the last reading ended in, and where it begins. */
  #piece: Uint8Array = new Uint8Array()
  #start = 0

  constructor(
    private readonly blob: Blob,
    private readonly byteLength: number,
  ) {}

  *read(first: number, end: number): Generator<Uint8Array> {
    if (first < this.#start) {
      this.#frame = undefined
      this.#piece = new Uint8Array()
      this.#start = 0
    }
    for (let at = first; at < end; ) {
      const pieceEnd = this.#start + this.#piece.byteLength
      if (at < pieceEnd) {
        const part = this.#piece.subarray(at - this.#start, Math.min(end, pieceEnd) - this.#start)
        at += part.byteLength
        yield part
      } else this.#advance(pieceEnd)
    }
    if (end === this.byteLength) this.#finish()
  }

  #advance(at: number): void {
    this.#frame ??= new ZstdFrame(this.blob)
    const piece = this.#frame.next()
    if (!piece)
      throw damaged(
        this.blob.path,
        `a chunk in it decodes to ${at} bytes; expected ${this.byteLength}. It is damaged: copy it again.`,
      )
    if (at + piece.byteLength > this.byteLength) throw this.#tooLong()
    this.#start = at
    this.#piece = piece
  }

  /** What follows the last byte must be the end of the frame. */
  #finish(): void {
    if (this.#frame?.next()) throw this.#tooLong()
  }

  #tooLong() {
    return damaged(
      this.blob.path,
      `a chunk in it decodes to more than ${this.byteLength} bytes. It is damaged: copy it again.`,
    )
  }
}
