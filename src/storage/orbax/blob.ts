import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { LRUCache } from 'lru-cache'
import { damaged, reading } from './damage.js'

/** A run of stored bytes: a part of a file, or of a node that was read already. */
export interface Blob {
  /** The file that holds it, for messages. */
  readonly path: string
  readonly byteLength: number
  /** Throws CHECKPOINT_INVALID when the file ends before. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer>
}

/** Files that are open at once; a checkpoint of plain folders has thousands. */
const MAX_OPEN = 64

/** The files of one checkpoint, opened when they are read and kept open for a while. */
export class Files {
  readonly #open = new LRUCache<string, { descriptor: number; size: number }>({
    max: MAX_OPEN,
    dispose: ({ descriptor }) => closeSync(descriptor),
  })

  size(path: string): number {
    return this.#file(path).size
  }

  read(path: string, offset: number, length: number): Uint8Array<ArrayBuffer> {
    const { descriptor, size } = this.#file(path)
    if (offset + length > size)
      throw damaged(
        path,
        `has ${size} bytes; expected at least ${offset + length}. It is cut short: copy it again.`,
      )
    const bytes = new Uint8Array(length)
    for (let done = 0; done < length; ) {
      const got = reading(path, () => readSync(descriptor, bytes, done, length - done, offset + done))
      if (got === 0) throw damaged(path, `ended at byte ${offset + done} while it was read.`)
      done += got
    }
    return bytes
  }

  /** A part of a file, the whole of it by default. */
  blob(path: string, offset = 0, byteLength = this.size(path)): Blob {
    return { path, byteLength, read: (at, length) => this.read(path, offset + at, length) }
  }

  close(): void {
    this.#open.clear()
  }

  #file(path: string) {
    const known = this.#open.get(path)
    if (known) return known
    const descriptor = reading(path, () => openSync(path, 'r'))
    const file = { descriptor, size: fstatSync(descriptor).size }
    this.#open.set(path, file)
    return file
  }
}

/** Bytes in memory that came from `path`. */
export function memoryBlob(path: string, bytes: Uint8Array): Blob {
  return {
    path,
    byteLength: bytes.byteLength,
    read(offset, length) {
      if (offset + length > bytes.byteLength)
        throw damaged(
          path,
          `holds a value of ${bytes.byteLength} bytes; expected at least ${offset + length}.`,
        )
      return new Uint8Array(bytes.subarray(offset, offset + length))
    },
  }
}

/** A part of another blob. */
export function partOf(blob: Blob, offset: number, byteLength: number): Blob {
  return { path: blob.path, byteLength, read: (at, length) => blob.read(offset + at, length) }
}
