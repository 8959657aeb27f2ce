import { reasonOf } from '../errors.js'
import { startWorker } from '../worker-thread.js'
import type { Sha256Reply } from './sha256-worker.js'

/** SHA-256 of whole files, in hexadecimal, taken in a thread of its own: path → digest. Rejects when one cannot be read. */
export function sha256OfFiles(paths: readonly string[]): Promise<Map<string, string>> {
  const digests = new Map<string, string>()
  if (paths.length === 0) return Promise.resolve(digests)
  return new Promise((resolve, reject) => {
    const worker = startWorker('sha256-worker', import.meta.url)
    worker.on('message', (reply: Sha256Reply) => {
      if ('error' in reply) reject(new Error(reply.error))
      else digests.set(reply.path, reply.digest)
    })
    worker.once('error', error => reject(new Error(`a reading thread was lost: ${reasonOf(error)}`)))
    worker.once('exit', () =>
      digests.size === new Set(paths).size ? resolve(digests) : reject(new Error('a reading thread ended')),
    )
    worker.postMessage(paths)
  })
}
