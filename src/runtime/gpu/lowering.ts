import type { ModelSource } from '../../families/lowered-model.js'
import type { CachedModel } from '../../families/model-cache.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import { modulatedTimes, timeEmbeddings } from '../../families/pi0/time.js'
import type { OnStage } from '../../storage/stage.js'
import { callWorker } from '../../worker-call.js'
import { startWorker } from '../../worker-thread.js'
import type { WorkerCall, WorkerNews } from './lowering-worker.js'

interface LoweringOptions {
  onStage?: OnStage
  onNotice?: (text: string) => void
  signal?: AbortSignal
}

/** One call in a worker thread of its own: these are rare and load much. */
function call<T extends CachedModel | Float32Array>(
  request: WorkerCall,
  { onStage, onNotice, signal }: LoweringOptions = {},
): Promise<T> {
  return callWorker<T, WorkerNews>(() => startWorker('lowering-worker', import.meta.url), request, {
    code: 'RUNTIME_FAILED',
    onNews: news => ('stage' in news ? onStage?.(news.stage) : onNotice?.(news.notice)),
    ...(signal && { signal }),
  })
}

/** The lowered model of a checkpoint, from the cache or new. Throws CHECKPOINT_INVALID or CACHE_FAILED. */
export function lower(source: ModelSource, cache: string, options: LoweringOptions): Promise<CachedModel> {
  return call({ kind: 'lower', source, cache }, options)
}

/** Gives [times, modulation], what the denoise graph takes of the time, by ONNX Runtime; once a step count (network §6.1). */
export function modulationTables(
  directory: string,
  config: ModelConfig,
): (steps: number) => Promise<Float32Array> {
  const tables = new Map<number, Promise<Float32Array>>()
  return steps => {
    const known = tables.get(steps)
    if (known) return known
    const times = modulatedTimes(config, steps)
    const embedding = timeEmbeddings(config, times)
    const table = call<Float32Array>({ kind: 'modulation', directory, embedding, times: times.length })
    tables.set(steps, table)
    table.catch(() => tables.delete(steps))
    return table
  }
}
