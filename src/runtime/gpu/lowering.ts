import { calledOff } from '../../cancellation.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { isLowered, type ModelSource } from '../../families/lowered-model.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import { timeEmbeddings } from '../../families/pi0/time.js'
import { startWorker } from '../worker-thread.js'
import type { WorkerCall, WorkerReply } from './lowering-worker.js'

interface LoweringOptions {
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

/** One call in a worker thread of its own: these are rare and load much. */
function call(
  request: WorkerCall,
  { onProgress, signal }: LoweringOptions = {},
): Promise<Float32Array | undefined> {
  if (signal?.aborted) return Promise.reject(calledOff('the start'))
  return new Promise((resolve, reject) => {
    const worker = startWorker('lowering-worker', import.meta.url)
    const abort = () => {
      reject(calledOff('the start'))
      void worker.terminate()
    }
    signal?.addEventListener('abort', abort, { once: true })
    const lost = (reason: string) =>
      reject(new TurboPiError('RUNTIME_FAILED', `the lowering worker was lost: ${reason}`))
    worker.on('error', error => lost(reasonOf(error)))
    worker.on('exit', code => {
      signal?.removeEventListener('abort', abort)
      lost(`it exited with code ${code}`)
    })
    worker.on('message', (reply: WorkerReply) => {
      if (reply.kind === 'progress') return onProgress?.(reply.done, reply.total)
      if (reply.kind === 'error') reject(new TurboPiError(reply.code ?? 'RUNTIME_FAILED', reply.message))
      else resolve(reply.table)
      // Killing a worker within a native call would abort the process; it has just left its last one.
      void worker.terminate()
    })
    worker.postMessage(request)
  })
}

/** Writes graphs and weights into the cache, unless they are there. Throws CHECKPOINT_INVALID or CACHE_FAILED. */
export async function lower(
  source: ModelSource,
  fingerprint: string,
  directory: string,
  options: LoweringOptions,
): Promise<void> {
  if (!isLowered(directory)) await call({ kind: 'lower', source, fingerprint, directory }, options)
}

/** [steps, modulation]: what the denoise graph takes of the time, by ONNX Runtime (pi05-spec §6.1). */
export async function modulationTable(
  directory: string,
  config: ModelConfig,
  steps: number,
): Promise<Float32Array> {
  const table = await call({ kind: 'modulation', directory, embedding: timeEmbeddings(config, steps), steps })
  return table!
}
