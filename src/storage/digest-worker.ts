import { parentPort } from 'node:worker_threads'
import { reasonOf } from '../errors.js'
import { digestPiece, type Piece, readBuffer } from './piece.js'

/** Several threads share the pieces: `next[0]` is the first that none has taken. */
export interface DigestJob {
  pieces: readonly Piece[]
  next: Int32Array
}

export type DigestReply = { index: number; digest: string } | { error: string }

const send = (reply: DigestReply) => parentPort!.postMessage(reply)

parentPort!.once('message', ({ pieces, next }: DigestJob) => {
  const buffer = readBuffer()
  try {
    for (;;) {
      const index = Atomics.add(next, 0, 1)
      const piece = pieces[index]
      if (!piece) return
      send({ index, digest: digestPiece(piece, buffer) })
    }
  } catch (error) {
    send({ error: reasonOf(error) })
  }
})
