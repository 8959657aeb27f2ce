import { parentPort } from 'node:worker_threads'
import { reasonOf } from '../errors.js'
import { sha256OfFile } from './piece.js'

export type Sha256Reply = { path: string; digest: string } | { error: string }

parentPort!.once('message', (paths: readonly string[]) => {
  try {
    for (const path of paths)
      parentPort!.postMessage({ path, digest: sha256OfFile(path) } satisfies Sha256Reply)
  } catch (error) {
    parentPort!.postMessage({ error: reasonOf(error) } satisfies Sha256Reply)
  }
  parentPort!.close()
})
