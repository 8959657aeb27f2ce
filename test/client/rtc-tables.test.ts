import { readFileSync } from 'node:fs'
import t from 'tap'
import { actionAt, endOf, type Plan } from '../../src/client/executor/plan.js'
import type { ActionChunk } from '../../src/client/index.js'
import { continuationFault } from '../../src/families/pi0/rtc/continuation-check.js'
import { smallConfig } from '../families/models.js'
import { ChunkStage } from '../support/chunk-stage.js'

/*
 * Tables of LeRobot's own client, as far as ours is to do the same. Its delay never sinks and counts latency instead of
 * actions, its queue cuts the first chunk and appends without RTC, and it pads the previous chunk with zeros: those rows are
 * left out.
 */

interface Estimate {
  latency: number
  fps: number
  mode: 'guided' | 'trained'
  has_previous_actions: boolean
  delay: number
}
interface Clamp {
  conditioned_delay: number
  available_steps: number
  training_max_delay: number
  delay: number
}
interface Merge {
  conditioned_delay: number
  measured_delay: number
  training_max_delay: number
  has_previous_actions: boolean
  merge: boolean
}
interface Prefix {
  case: string
  x_shape: number[]
  prev_shape: number[] | null
  inference_delay: number
  training_max_delay: number
  error?: string
}
interface Operation {
  op: 'merge' | 'get' | 'clear'
  real_delay: number
  rows: number
  chunk_first_row: number
  n: number
  got: (number | null)[]
  qsize: number
  left_over: number[] | null
}

const golden = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`../golden/rtc/${name}.json`, import.meta.url), 'utf8')) as T
const latency = golden<{
  estimate_delay: Estimate[]
  clamp_trained_delay: Clamp[]
  trained_chunk_can_merge: Merge[]
  trained_prefix: { rows: Prefix[] }
}>('latency')
const queue = golden<{ sequences: { name: string; rtc_enabled: boolean; ops: Operation[] }[] }>(
  'action_queue',
)

/** An executor that plays a long chunk, whose answer took so long. */
async function playing(ms: number, options: ConstructorParameters<typeof ChunkStage>[0], rows = 40) {
  const stage = new ChunkStage({ strategy: 'rtc', ...options })
  stage.tick()
  stage.now += ms - 100
  await stage.asked[0]!.answer(0, { rows })
  return stage
}

t.test('the delay is the latency in actions, rounded up', async t => {
  let rows = 0
  for (const { latency: seconds, fps, mode, delay } of latency.estimate_delay) {
    if (mode === 'trained' && seconds === 0) continue
    const { executor } = await playing(seconds * 1000, { hertz: fps })
    t.equal(executor.delayTicks, delay, `${seconds} s at ${fps}`)
    rows += 1
  }
  t.ok(rows >= 80, `${rows} rows`)
})

t.test(
  'a trained network is given no more rows than it was trained with, and no more than are left',
  async t => {
    for (const row of latency.clamp_trained_delay) {
      const { conditioned_delay, available_steps, training_max_delay, delay } = row
      if (available_steps === 0) continue
      const stage = await playing(
        conditioned_delay * 100,
        { executionHorizon: 2, rtc: { mode: 'trained' }, trainedDelay: training_max_delay },
        available_steps + 2,
      )
      for (let tick = 0; tick < 3; tick += 1) stage.tick()
      // A longer delay is asked for earlier than after two actions.
      const { consumed, inferenceDelay } = stage.asked[1]!.options.rtc!
      if (consumed === 2) t.equal(inferenceDelay, delay, JSON.stringify(row))
      else t.ok(inferenceDelay <= Math.min(training_max_delay, conditioned_delay), JSON.stringify(row))
    }
  },
)

t.test('a chunk of a trained network is played when it continues what was executed', async t => {
  for (const row of latency.trained_chunk_can_merge) {
    const { conditioned_delay, measured_delay, training_max_delay, has_previous_actions, merge } = row
    // The tick that asks plays an action, too.
    if (measured_delay === 0 || !has_previous_actions) continue
    const stage = await playing(conditioned_delay * 100, {
      executionHorizon: 1,
      rtc: { mode: 'trained' },
      trainedDelay: training_max_delay,
    })
    let merged = false
    stage.executor.on('merged', () => {
      merged = true
    })
    stage.tick()
    for (let tick = 0; tick < measured_delay; tick += 1) stage.tick()
    t.equal(stage.asked[1]!.options.rtc!.inferenceDelay, conditioned_delay)
    await stage.asked[1]!.answer(100, { rows: 40 })
    t.equal(merged, merge, JSON.stringify(row))
  }
})

t.test('what a trained network cannot be given is refused', async t => {
  for (const row of latency.trained_prefix.rows) {
    const { prev_shape: shape, x_shape, inference_delay, training_max_delay, error } = row
    // Shapes that a request cannot have, and the batch of LeRobot's tensors.
    if (shape?.length !== 3 || shape[0] !== x_shape[0] || shape[2] !== x_shape[2]) continue
    const [rows, width] = [shape[1]!, shape[2]!]
    const previous = new Float32Array(rows * width).fill(1)
    if (row.case.startsWith('nan')) previous[previous.length - 1] = Number.NaN
    const fault = continuationFault(
      { mode: 'trained', previous, inferenceDelay: inference_delay },
      { ...smallConfig(), actionHorizon: x_shape[1]!, actionDim: width, trainedDelay: training_max_delay },
    )
    // LeRobot takes a delay below 0 for none; on the wire it is an error.
    t.equal(fault !== undefined, error !== undefined || inference_delay < 0, row.case)
  }
})

t.test('a merged chunk goes on at the row that is due', async t => {
  for (const { name, rtc_enabled, ops } of queue.sequences) {
    if (!rtc_enabled) continue
    let plan: Plan | undefined
    let tick = 0
    for (const [step, operation] of ops.entries()) {
      const { op, real_delay, rows, chunk_first_row, n, got, qsize, left_over } = operation
      const says = `${name}, step ${step}`
      if (op === 'merge') {
        const actions = Array.from({ length: rows }, (_, row) => [chunk_first_row + row + 0.5])
        plan = { start: tick - Math.max(0, real_delay), actions, chunk: {} as ActionChunk }
      } else if (op === 'clear') plan = undefined
      else {
        const played: (number | null)[] = []
        for (let i = 0; i < n; i += 1) {
          const action = plan && actionAt(plan, tick)
          played.push(action?.[0] ?? null)
          if (action) tick += 1
        }
        t.same(played, got, says)
      }
      const left = plan ? Math.max(0, endOf(plan) - tick) : 0
      t.equal(left, qsize, says)
      if (left_over && left > 0) t.equal(plan && actionAt(plan, tick)![0]! - 0.5, left_over[0], says)
    }
  }
})
