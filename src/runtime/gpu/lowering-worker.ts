import { join } from 'node:path'
import { parentPort } from 'node:worker_threads'
import { reasonOf, TurboPiError } from '../../errors.js'
import type { ModelSource } from '../../families/lowered-model.js'
import { type CachedModel, modelFromCache } from '../../families/model-cache.js'
import type { Stage } from '../../storage/stage.js'
import { loadOnnxRuntime } from '../onnxruntime.js'

/** What the CPU does for a GPU runtime, off the event loop: lowering a checkpoint, and the modulation graph. */
export type WorkerCall =
  | { kind: 'lower'; source: ModelSource; cache: string }
  | { kind: 'modulation'; directory: string; embedding: Float32Array; times: number }

export type WorkerReply =
  | { kind: 'done'; result: CachedModel | Float32Array }
  | { kind: 'notice'; text: string }
  | { kind: 'stage'; stage: Stage }
  | { kind: 'error'; code?: TurboPiError['code']; message: string }

const send = (reply: WorkerReply) => parentPort!.postMessage(reply)

async function answer(call: WorkerCall): Promise<WorkerReply> {
  if (call.kind === 'lower') {
    const result = await modelFromCache(call.source, call.cache, {
      onStage: stage => send({ kind: 'stage', stage }),
      onNotice: text => send({ kind: 'notice', text }),
    })
    return { kind: 'done', result }
  }
  const { directory, embedding, times } = call
  const { InferenceSession, Tensor } = await loadOnnxRuntime()
  const session = await InferenceSession.create(join(directory, 'modulation.onnx'), { logSeverityLevel: 3 })
  try {
    const shape = [times, embedding.length / times]
    const { modulation } = await session.run({ time_embedding: new Tensor('float32', embedding, shape) })
    return { kind: 'done', result: Float32Array.from(modulation!.data as Float32Array) }
  } finally {
    await session.release()
  }
}

parentPort!.once('message', (call: WorkerCall) => {
  answer(call).then(send, error =>
    send({
      kind: 'error',
      message: reasonOf(error),
      ...(error instanceof TurboPiError && { code: error.code }),
    }),
  )
})
