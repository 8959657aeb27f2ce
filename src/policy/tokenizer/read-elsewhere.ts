import { reasonOf, TurboPiError } from '../../errors.js'
import { startWorker } from '../../worker-thread.js'
import type { TokenizerFile } from './read.js'
import type { TokenizerReply } from './read-worker.js'

/** As `readTokenizer`, in a thread of its own: a large vocabulary takes seconds. */
export function readTokenizerElsewhere(path: string): Promise<TokenizerFile> {
  return new Promise((resolve, reject) => {
    const worker = startWorker('read-worker', import.meta.url)
    worker.once('message', (reply: TokenizerReply) => {
      if (reply.kind === 'read') resolve(reply.file)
      else reject(new TurboPiError(reply.code ?? 'TOKENIZER_INVALID', reply.message))
    })
    worker.once('error', error => reject(new Error(`a reading thread was lost: ${reasonOf(error)}`)))
    worker.once('exit', () => reject(new Error('a reading thread ended')))
    worker.postMessage(path)
  })
}
