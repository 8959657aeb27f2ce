import { getPriority, setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import { CALLER_LEFT } from '../../cancellation.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { modelFromCache } from '../../families/model-cache.js'
import type { OnStage } from '../../storage/stage.js'
import type { Replies, Request, Response } from './protocol.js'
import { Sessions } from './sessions.js'

/*
 * A lane of the CPU runtime. ONNX Runtime blocks the thread that calls it, so it is loaded and called here alone; calls
 * are taken one after another.
 */
const port = parentPort!
// On Linux this is the priority of the calling thread and of those it starts, not of the process: the event loop goes first.
if (process.platform === 'linux') setPriority(0, Math.min(19, getPriority(0) + 5))
let sessions: Sessions | undefined

const loaded = () => {
  if (!sessions) throw new TurboPiError('NOT_READY', 'the worker has not loaded its graphs')
  return sessions
}

async function handle(
  { call, slot }: Request,
  checkpoint: () => void,
  onStage: OnStage,
  onNotice: (text: string) => void,
): Promise<Replies[keyof Replies]> {
  switch (call.kind) {
    case 'lower':
      return modelFromCache(call.source, call.cache, { onStage, onNotice, checkpoint })
    case 'load':
      sessions = await Sessions.load(call, checkpoint)
      return undefined
    case 'close':
      port.close()
      return undefined
    case 'perceive':
      return loaded().perceive(call, slot!, checkpoint)
    case 'act':
      return loaded().act(call, slot!, checkpoint)
  }
}

async function answer(request: Request): Promise<Response> {
  const { id, cancel, slot } = request
  const checkpoint = () => {
    if (Atomics.load(cancel, 0)) throw CALLER_LEFT
  }
  const onStage: OnStage = stage => {
    checkpoint()
    port.postMessage({ id, stage } satisfies Response)
  }
  const onNotice = (notice: string) => port.postMessage({ id, notice } satisfies Response)
  try {
    checkpoint()
    return { id, ...(slot && { slot }), result: await handle(request, checkpoint, onStage, onNotice) }
  } catch (error) {
    const code = error instanceof TurboPiError ? error.code : 'RUNTIME_FAILED'
    return { id, ...(slot && { slot }), error: { code, message: reasonOf(error) } }
  }
}

let queue = Promise.resolve()
port.on('message', (request: Request) => {
  queue = queue.then(async () => port.postMessage(await answer(request), request.slot ? [request.slot] : []))
})
