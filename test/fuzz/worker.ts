import { parentPort, workerData } from 'node:worker_threads'
import { type Budget, fuzz } from './loop.js'
import { targets } from './targets.js'

/** What a worker is asked to do, and where it writes the input at hand: its number, its length, its bytes. */
export interface Task extends Budget {
  target: string
  current: SharedArrayBuffer
}

const { target: name, current, ...budget } = workerData as Task
const target = targets.find(target => target.name === name)!
const head = new Int32Array(current, 0, 2)
const bytes = new Uint8Array(current, 8)
const outcome = fuzz(target, budget, input => {
  bytes.set(input.subarray(0, bytes.length))
  head[1] = Math.min(input.length, bytes.length)
  Atomics.add(head, 0, 1)
})
parentPort!.postMessage(outcome)
