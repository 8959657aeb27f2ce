import { Worker } from 'node:worker_threads'

/**
 * Starts a worker file that lies beside the given module, compiled (.js) or, when the module itself runs from source,
 * through tsx, which a worker does not inherit.
 */
export function startWorker(name: string, besides: string): Worker {
  // ONNX Runtime reports its use to its maker unless told not to, and reads this thread's environment, not a worker's.
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const url = new URL(`./${name}.js`, besides).href
  if (!besides.endsWith('.ts')) return new Worker(new URL(url))
  const tsx = import.meta.resolve('tsx/esm/api')
  const boot = `import(${JSON.stringify(tsx)}).then(tsx => { tsx.register(); return import(${JSON.stringify(url)}) })`
  return new Worker(boot, { eval: true })
}
