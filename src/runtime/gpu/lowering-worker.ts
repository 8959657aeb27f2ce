import { join } from 'node:path'
import type { ModelSource } from '../../families/lowered-model.js'
import { type CachedModel, modelFromCache } from '../../families/model-cache.js'
import type { Stage } from '../../storage/stage.js'
import { answerCall } from '../../worker-call.js'
import { loadOnnxRuntime } from '../onnxruntime.js'

/** What the CPU does for a GPU runtime, off the event loop: lowering a checkpoint, and the modulation graph. */
export type WorkerCall =
  | { kind: 'lower'; source: ModelSource; cache: string }
  | { kind: 'modulation'; directory: string; embedding: Float32Array; times: number }

export type WorkerNews = { notice: string } | { stage: Stage }

answerCall<WorkerCall, CachedModel | Float32Array, WorkerNews>(async (call, tell) => {
  if (call.kind === 'lower')
    return modelFromCache(call.source, call.cache, {
      onStage: stage => tell({ stage }),
      onNotice: notice => tell({ notice }),
    })
  const { directory, embedding, times } = call
  const { InferenceSession, Tensor } = await loadOnnxRuntime()
  const session = await InferenceSession.create(join(directory, 'modulation.onnx'), { logSeverityLevel: 3 })
  try {
    const shape = [times, embedding.length / times]
    const { modulation } = await session.run({ time_embedding: new Tensor('float32', embedding, shape) })
    return Float32Array.from(modulation!.data as Float32Array)
  } finally {
    await session.release()
  }
})
