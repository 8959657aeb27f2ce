import { statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { Worker } from 'node:worker_threads'
import { reasonOf, TurboPiError } from '../errors.js'
import { startWorker } from '../worker-thread.js'
import { type FileDigest, PIECE_BYTES } from './content.js'
import type { DigestJob, DigestReply } from './digest-worker.js'
import { digestPiece, type Piece, readBuffer } from './piece.js'

/** What takes no longer than threads take to start. */
const AT_ONCE_BYTES = 4 * PIECE_BYTES
/** More threads than this outrun any disk. */
const MAX_THREADS = 8

/** Hears of each piece, in the order in which they are done; `file` and `piece` count from 0. Throwing ends the reading. */
export type OnPiece = (file: number, piece: number, digest: string) => void

/** Files that are being read. */
export interface Digesting {
  /** One a file, in their order. Rejects when a file cannot be read, or with what `onPiece` threw. */
  readonly done: Promise<FileDigest[]>
  /** Ends the reading; `done` may then stay open. Idempotent. */
  stop(): void
}

/** Reads files and digests their pieces in worker threads; up to 256 MiB, at once on this thread. */
export function digestFiles(paths: readonly string[], onPiece: OnPiece = () => {}): Digesting {
  const digests: { bytes: number; pieces: string[] }[] = []
  const pieces: (Piece & { file: number; index: number })[] = []
  try {
    for (const [file, path] of paths.entries()) {
      const { size } = statSync(path)
      digests.push({ bytes: size, pieces: [] })
      for (let position = 0; position < size; position += PIECE_BYTES) {
        const byteLength = Math.min(PIECE_BYTES, size - position)
        pieces.push({ path, position, byteLength, file, index: position / PIECE_BYTES })
      }
    }
  } catch (error) {
    return { done: Promise.reject(error), stop: () => {} }
  }
  const add = (at: number, digest: string) => {
    const { file, index } = pieces[at]!
    digests[file]!.pieces[index] = digest
    onPiece(file, index, digest)
  }
  const total = digests.reduce((sum, { bytes }) => sum + bytes, 0)
  const reading = total <= AT_ONCE_BYTES ? here(pieces, add) : inThreads(pieces, add)
  const done = reading.done.then(() => digests)
  // Who stops early does not want to hear of it.
  done.catch(() => {})
  return { done, stop: reading.stop }
}

type Reading = { done: Promise<void>; stop(): void }

function here(pieces: readonly Piece[], add: (at: number, digest: string) => void): Reading {
  const buffer = readBuffer()
  const read = async () => {
    for (const [at, piece] of pieces.entries()) add(at, digestPiece(piece, buffer))
  }
  return { done: read(), stop: () => {} }
}

function inThreads(pieces: readonly Piece[], add: (at: number, digest: string) => void): Reading {
  const next = new Int32Array(new SharedArrayBuffer(4))
  const workers: Worker[] = []
  const stop = () => {
    for (const worker of workers.splice(0)) void worker.terminate()
  }
  const done = new Promise<void>((resolve, reject) => {
    const fail = (reason: unknown) => {
      stop()
      reject(reason)
    }
    let left = pieces.length
    const receive = (reply: DigestReply) => {
      if ('error' in reply) return fail(new Error(reply.error))
      try {
        add(reply.index, reply.digest)
      } catch (error) {
        return fail(error)
      }
      left -= 1
      if (left === 0) {
        stop()
        resolve()
      }
    }
    const threads = Math.min(MAX_THREADS, availableParallelism(), pieces.length)
    for (let thread = 0; thread < threads; thread++) {
      const worker = startWorker('digest-worker', import.meta.url)
      worker.on('message', receive)
      worker.on('error', error => fail(new Error(`a reading thread was lost: ${reasonOf(error)}`)))
      worker.postMessage({ pieces, next } satisfies DigestJob)
      workers.push(worker)
    }
  })
  return { done, stop }
}

/**
 * What differs between the files of a folder and their digests, as a sentence; undefined when all is as it was written.
 * `onPiece` hears bytes read and in all, and may throw a TurboPiError to give up.
 */
export async function damageIn(
  directory: string,
  expected: Readonly<Record<string, FileDigest>>,
  onPiece: (done: number, total: number) => void = () => {},
): Promise<string | undefined> {
  const names = Object.keys(expected)
  for (const name of names) {
    const size = statSync(`${directory}/${name}`, { throwIfNoEntry: false })?.size
    if (size === undefined) return `${name} is missing`
    const { bytes } = expected[name]!
    if (size !== bytes) return `${name} has ${size} bytes, ${bytes} were written`
  }
  const total = names.reduce((sum, name) => sum + expected[name]!.bytes, 0)
  let read = 0
  let damage: string | undefined
  const digesting = digestFiles(
    names.map(name => `${directory}/${name}`),
    (file, piece, digest) => {
      const name = names[file]!
      const { pieces, bytes } = expected[name]!
      read += Math.min(PIECE_BYTES, bytes - piece * PIECE_BYTES)
      onPiece(read, total)
      if (digest === pieces[piece]) return
      damage = `${name} has changed since it was written, in its bytes from ${piece * PIECE_BYTES} on`
      throw new Error(damage)
    },
  )
  try {
    await digesting.done
  } catch (error) {
    if (damage === undefined && error instanceof TurboPiError) throw error
    return damage ?? reasonOf(error)
  }
  return undefined
}
