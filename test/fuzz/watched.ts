import { Worker } from 'node:worker_threads'
import type { Outcome } from './loop.js'
import type { Target } from './target.js'
import type { Task } from './worker.js'

const LONGEST_INPUT = 2 ** 22
/** Milliseconds after which one input is taken to be read for ever. */
const HANG_MS = 30_000
const HEAP_MB = 1024

/** Runs a target in a thread of its own, so that what never ends, or takes all memory, is a fault and not the end. */
export function fuzzWatched(target: Target, budget: Omit<Task, 'target' | 'current'>): Promise<Outcome> {
  const current = new SharedArrayBuffer(8 + LONGEST_INPUT)
  const head = new Int32Array(current, 0, 2)
  const task: Task = { ...budget, target: target.name, current }
  const url = new URL('./worker.ts', import.meta.url).href
  const tsx = import.meta.resolve('tsx/esm/api')
  const boot = `import(${JSON.stringify(tsx)}).then(tsx => { tsx.register(); return import(${JSON.stringify(url)}) })`
  const worker = new Worker(boot, {
    eval: true,
    workerData: task,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  })
  return new Promise(resolve => {
    let last = 0
    const lost = (what: string) => {
      clearInterval(watch)
      void worker.terminate()
      const input = Buffer.from(new Uint8Array(current, 8, head[1])).toString('base64')
      const { name, kind } = target
      resolve({
        target: name,
        kind,
        inputs: head[0]!,
        refused: 0,
        corpus: 0,
        blocks: 0,
        worstMs: HANG_MS,
        faults: [{ what, input }],
      })
    }
    const watch = setInterval(() => {
      // None yet: the thread is still loading, which takes long on a busy machine.
      if (head[0] !== 0 && head[0] === last) lost(`an input is not done after ${HANG_MS / 1000} s`)
      last = head[0]!
    }, HANG_MS)
    worker.once('message', (outcome: Outcome) => {
      clearInterval(watch)
      resolve(outcome)
    })
    worker.once('error', error => lost(`the thread died: ${error.stack ?? error}`))
  })
}
