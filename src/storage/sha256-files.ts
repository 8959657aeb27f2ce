import { callWorker } from '../worker-call.js'
import { startWorker } from '../worker-thread.js'

/** SHA-256 of whole files, in hexadecimal, taken in a thread of its own: path → digest. Throws CHECKPOINT_INVALID for one that cannot be read. */
export async function sha256OfFiles(paths: readonly string[]): Promise<Map<string, string>> {
  if (paths.length === 0) return new Map()
  return callWorker(() => startWorker('sha256-worker', import.meta.url), paths, {
    code: 'CHECKPOINT_INVALID',
  })
}
