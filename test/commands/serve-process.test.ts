import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

/** A process that takes in frames as a socket gives them, and says how often its whole heap was collected meanwhile. */
const RECEIVER = `
import { constants, PerformanceObserver } from 'node:perf_hooks'
import { setImmediate } from 'node:timers/promises'
import { tuneProcess } from './src/commands/serve-process.js'

tuneProcess()
let collected = 0
new PerformanceObserver(list => {
  for (const { detail } of list.getEntries()) collected += Number(detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR)
}).observe({ entryTypes: ['gc'] })
const objects = []
for (let frame = 0; frame < 10_000; frame += 1) {
  const bytes = Buffer.allocUnsafe(300_000)
  bytes[frame] = 1
  // Garbage of JavaScript's own, as every answer makes it.
  objects[frame % 1000] = Array.from({ length: 500 }, (_, at) => ({ at }))
  if (frame % 10 === 0) await setImmediate()
}
console.log(collected)
`

t.test(
  'three gigabytes of camera frames that come and go do not make V8 collect its whole heap again and again',
  async t => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--import=tsx',
      '--input-type=module',
      '--eval',
      RECEIVER,
    ])
    t.ok(Number(stdout) < 12, `collected ${stdout.trim()} times`)
  },
)
