import { Worker } from 'node:worker_threads'

const live = new Set<Worker>()

/**
 * Starts a worker file that lies beside the given module, compiled (.js) or, when the module itself runs from source,
 * through tsx, which a worker does not inherit.
 */
export function startWorker(name: string, besides: string): Worker {
  // ONNX Runtime reports its use to its maker unless told not to, and reads this thread's environment, not a worker's.
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const worker = launch(new URL(`./${name}.js`, besides).href, besides.endsWith('.ts'))
  live.add(worker)
  worker.once('exit', () => live.delete(worker))
  return worker
}

/** Workers that have not ended. The end of a process waits for them, without end for one within a call that never returns. */
export const liveWorkers = (): number => live.size

function launch(url: string, fromSource: boolean): Worker {
  if (!fromSource) return new Worker(new URL(url))
  const tsx = import.meta.resolve('tsx/esm/api')
  const boot = `import(${JSON.stringify(tsx)}).then(tsx => { tsx.register(); return import(${JSON.stringify(url)}) })`
  return new Worker(boot, { eval: true })
}
