/** Node leaves with jobs in flight, 100 times, in every way it can: the process must end, and in good order. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const self = fileURLToPath(import.meta.url)
const ways = ['process.exit', 'throw', 'end of main', 'worker', 'while building', 'while a card is read']

async function leave(way) {
  const { act, addon, build, frame, openToy } = await import('./toy.mjs')
  if (way === 'while a card is read') {
    process.env.FAKE_NVML_DELAY_MS = '3600000'
    addon.readCards([0])
    setTimeout(() => process.exit(0), 20)
    return
  }
  if (way === 'while building') {
    build('vision')
    setTimeout(() => process.exit(0), 5)
    return
  }
  const session = await openToy()
  assert.equal(session.destroyContext, undefined, 'tests alone have hooks')
  for (let number = 0; number < 40; number++) {
    session.perceive(frame(number % 2, number)).promise.catch(() => {})
    session.act(act(number % 2, number)).promise.catch(() => {})
  }
  if (way === 'process.exit') process.exit(0)
  if (way === 'throw') {
    process.on('uncaughtException', () => process.exit(0))
    setImmediate(() => {
      throw new Error('on purpose')
    })
  }
}

if (process.argv[2] === undefined) {
  const rounds = 20
  const pending = ways.flatMap(way => Array(rounds).fill(way))
  const next = async () => {
    for (let way = pending.pop(); way !== undefined; way = pending.pop()) {
      const child = spawn(process.execPath, [self, way], {
        // One that hangs is killed, which fails the check below.
        timeout: 120_000,
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...process.env, FAKE_CUDA_DELAY_US: '200', FAKE_TENSORRT_TACTIC_MS: '20' },
      })
      const [code, signal] = await new Promise(resolve => child.on('exit', (...end) => resolve(end)))
      assert.deepEqual([code, signal], [0, null], `leaving by ${way}`)
    }
  }
  await Promise.all([next(), next()])
  console.log(`ok   ${rounds * ways.length} exits with work in flight (${ways.join(', ')})`)
} else if (process.argv[2] === 'worker') {
  const { Worker } = await import('node:worker_threads')
  const worker = new Worker(new URL(import.meta.url), { argv: ['inside worker'] })
  await new Promise(resolve => setTimeout(resolve, 60))
  await worker.terminate()
} else {
  await leave(process.argv[2])
}
