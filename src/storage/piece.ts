import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'

/** A piece of a file. */
export interface Piece {
  path: string
  position: number
  byteLength: number
}

/** Bytes of one read. */
const READ_BYTES = 2 ** 22

export const readBuffer = () => new Uint8Array(READ_BYTES)

/** SHA-256 of a piece, read through `buffer`. Throws when the file cannot be read or ends before the piece does. */
export function digestPiece({ path, position, byteLength }: Piece, buffer: Uint8Array): string {
  const hash = createHash('sha256')
  const descriptor = openSync(path, 'r')
  try {
    for (let done = 0; done < byteLength; ) {
      const length = Math.min(buffer.byteLength, byteLength - done)
      const got = readSync(descriptor, buffer, 0, length, position + done)
      if (got === 0) throw new Error(`${path} ends at byte ${position + done}`)
      hash.update(buffer.subarray(0, got))
      done += got
    }
    return hash.digest('hex')
  } finally {
    closeSync(descriptor)
  }
}

/** SHA-256 of a whole file, in hexadecimal. Blocks its thread while it reads. */
export function sha256OfFile(path: string): string {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(1 << 22)
  const descriptor = openSync(path, 'r')
  try {
    for (let count = 1; count > 0; ) {
      count = readSync(descriptor, buffer)
      hash.update(buffer.subarray(0, count))
    }
    return hash.digest('hex')
  } finally {
    closeSync(descriptor)
  }
}
