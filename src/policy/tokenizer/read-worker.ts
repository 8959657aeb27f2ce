import { parentPort } from 'node:worker_threads'
import { reasonOf, TurboPiError } from '../../errors.js'
import { readTokenizer, type TokenizerFile } from './read.js'

export type TokenizerReply =
  | { kind: 'read'; file: TokenizerFile }
  | { kind: 'error'; code?: TurboPiError['code']; message: string }

function answer(path: string): TokenizerReply {
  try {
    return { kind: 'read', file: readTokenizer(path) }
  } catch (error) {
    return {
      kind: 'error',
      message: reasonOf(error),
      ...(error instanceof TurboPiError && { code: error.code }),
    }
  }
}

/** The arrays of what was read, which are handed over and not copied. */
const arraysOf = (reply: object): ArrayBuffer[] =>
  Object.values(reply).flatMap(value => {
    if (ArrayBuffer.isView(value)) return [value.buffer as ArrayBuffer]
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? arraysOf(value) : []
  })

parentPort!.once('message', (path: string) => {
  const reply = answer(path)
  parentPort!.postMessage(reply, arraysOf(reply))
})
