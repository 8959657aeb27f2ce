import { createHash } from 'node:crypto'

/** Bytes that one digest covers: a thread's share of the work, and what is read to find a damage. */
export const PIECE_BYTES = 2 ** 26

/** A file whose bytes belong to a checkpoint. */
export interface ContentFile {
  /** Absolute. */
  path: string
  /**
   * Its name inside the checkpoint, with '/' on every system, where names are part of the content (a folder of chunks); ''
   * where the bytes say all.
   */
  name: string
}

/** What a checkpoint is made of; `files` come in one order, whatever the machine. */
export interface Content {
  files: readonly ContentFile[]
  /** How tensors are made of the files where reading is not all: merged adapters, their rule and scale. */
  made?: string
}

/** SHA-256 of the consecutive pieces of a file, in hexadecimal; the last piece may be shorter. */
export interface FileDigest {
  bytes: number
  pieces: readonly string[]
}

/** A content that was read. */
export interface ReadContent {
  files: readonly (FileDigest & { name: string })[]
  made?: string
}

/** Names a content: equal for equal bytes, wherever they lie and whenever they were written. */
export function contentDigest({ files, made = '' }: ReadContent): string {
  const list = files.map(({ name, bytes, pieces }) => [name, bytes, pieces])
  return sha256(JSON.stringify([made, list]))
}

/** SHA-256 in hexadecimal. */
export const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex')

/** Digests a file while it is written, from front to back. */
export class PieceHasher {
  private hash = createHash('sha256')
  private filled = 0
  private bytes = 0
  private readonly pieces: string[] = []

  update(view: ArrayBufferView): void {
    const all = new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    for (let done = 0; done < all.byteLength; ) {
      const part = all.subarray(done, done + PIECE_BYTES - this.filled)
      this.hash.update(part)
      done += part.byteLength
      this.filled += part.byteLength
      if (this.filled === PIECE_BYTES) this.endPiece()
    }
    this.bytes += all.byteLength
  }

  private endPiece(): void {
    this.pieces.push(this.hash.digest('hex'))
    this.hash = createHash('sha256')
    this.filled = 0
  }

  /** The digest of all that came. */
  end(): FileDigest {
    if (this.filled > 0) this.endPiece()
    return { bytes: this.bytes, pieces: this.pieces }
  }
}
