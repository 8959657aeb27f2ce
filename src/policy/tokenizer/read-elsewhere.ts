import { callWorker } from '../../worker-call.js'
import { startWorker } from '../../worker-thread.js'
import type { TokenizerFile } from './read.js'

/** As `readTokenizer`, in a thread of its own: a large vocabulary takes seconds. */
export const readTokenizerElsewhere = (path: string): Promise<TokenizerFile> =>
  callWorker(() => startWorker('read-worker', import.meta.url), path, { code: 'TOKENIZER_INVALID' })
