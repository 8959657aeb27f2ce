import { readFileSync } from 'node:fs'
import t from 'tap'
import type { Continuation } from '../../../../src/families/pi0/rtc/continuation.js'
import { guidanceWeight } from '../../../../src/families/pi0/rtc/guidance-weight.js'
import { prefixWeights, type Schedule } from '../../../../src/families/pi0/rtc/prefix-weights.js'
import { giveRows, stepTargets, stepUpdates } from '../../../../src/families/pi0/rtc/step-updates.js'

const table = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../golden/rtc/${name}.json`, import.meta.url), 'utf8'))

const farthest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(0, ...Array.from(a, (x, i) => Math.abs(x - b[i]!)))

t.test('prefix weights are those of LeRobot for every schedule, delay and horizon', async t => {
  const rows: { schedule: Schedule; delay: number; horizon: number; H: number; w: number[] }[] =
    table('prefix_weights').rows
  let worst = 0
  for (const { schedule, delay, horizon, H, w } of rows) {
    const weights = prefixWeights({ schedule, inferenceDelay: delay, executionHorizon: horizon }, H)
    worst = Math.max(worst, farthest(weights, [...w, ...new Array<number>(H - w.length).fill(0)]))
  }
  t.equal(rows.length, 1712)
  t.ok(worst <= 1e-6, `largest difference ${worst}`)
})

t.test('guidance weights are those of LeRobot at every step', async t => {
  const { rows, specials } = table('guidance_weights') as {
    rows: { max_guidance_weight: number; time: number[]; g: number[] }[]
    specials: { time: number; max_guidance_weight: number; g: number }[]
  }
  let worst = 0
  const compare = (time: number, most: number, expected: number) => {
    worst = Math.max(worst, Math.abs(guidanceWeight(time, most) / expected - 1))
  }
  for (const row of rows)
    for (const [k, time] of row.time.entries()) compare(time, row.max_guidance_weight, row.g[k]!)
  // Below, LeRobot's float32 gives 0; its sampler never evaluates a time below 1/steps.
  for (const one of specials) if (one.time >= 1e-7) compare(one.time, one.max_guidance_weight, one.g)
  t.ok(rows.length > 50)
  t.ok(worst <= 1e-5, `largest relative difference ${worst}`)
  t.equal(guidanceWeight(1, 10), 10, 'the first step takes the most')
})

interface StepRow {
  case: string
  x: number[][][] | number[][]
  v: number[][][] | number[][]
  prev: number[][][] | number[][]
  prev_shape: number[]
  inference_delay: number
  execution_horizon: number | null
  time: number
  schedule: Schedule
  max_guidance_weight: number
  v_guided?: number[][][] | number[][]
}

t.test('one guided step moves x as LeRobot moves it', async t => {
  const refused = ['nan in prev under weight 0', 'time 0']
  const rows = (table('guided_step').rows as StepRow[]).filter(
    row => row.v_guided && !refused.includes(row.case),
  )
  t.equal(rows.length, 9)
  for (const row of rows) {
    const [batch, horizon, actionDim] = shapeOf(row.x)
    const [prevBatch, , width] = shapeOf(row.prev, row.prev_shape)
    const padded = chunks(row.prev, prevBatch).map(rows =>
      Float32Array.from(rows.flatMap(values => [...values, ...new Array<number>(actionDim - width).fill(0)])),
    )
    const continuations = Array.from(
      { length: batch },
      (_, b): Continuation => ({
        mode: 'guided',
        previous: padded[Math.min(b, prevBatch - 1)]!,
        inferenceDelay: row.inference_delay,
        executionHorizon: row.execution_horizon ?? 10,
        schedule: row.schedule,
        maxGuidanceWeight: row.max_guidance_weight,
      }),
    )
    const size = { horizon, actionDim }
    // One step over the whole time: x − v' is the next x.
    const rows = continuations.map(continuation => ({ continuation }))
    const updates = stepUpdates(rows, [row.time], size)
    const targets = stepTargets(rows, size)
    const x = flat(row.x)
    const velocity = flat(row.v)
    const guided = x.map((value, i) => {
      const [a, b, c] = updates.subarray(3 * Math.floor(i / actionDim)) as unknown as [number, number, number]
      return value - (a * value + b * velocity[i]! + c * targets[i]!)
    })
    const difference = farthest(guided, flat(row.v_guided!))
    t.ok(difference <= 5e-6, `${row.case}: ${difference}`)
  }
})

type Nested = number[][][] | number[][]

const flat = (values: Nested) => (values as number[][][]).flat(3) as unknown as number[]

const chunks = (values: Nested, batch: number) =>
  (Array.isArray(values[0]?.[0]) || batch > 1 ? values : [values]) as number[][][]

function shapeOf(values: Nested, given?: number[]): [number, number, number] {
  const shape = given ?? sizes(values)
  return (shape.length === 2 ? [1, ...shape] : shape) as [number, number, number]
}

const sizes = (values: unknown): number[] =>
  Array.isArray(values) ? [values.length, ...sizes(values[0])] : []

t.test('rows of one batch are continued each in its own way', async t => {
  const size = { horizon: 3, actionDim: 2 }
  const guided: Continuation = {
    mode: 'guided',
    previous: new Float32Array([5, 6, 7, 8]),
    inferenceDelay: 1,
    executionHorizon: 9,
    schedule: 'ones',
    maxGuidanceWeight: 2,
  }
  const trained: Continuation = {
    mode: 'trained',
    previous: new Float32Array([1, 2, 3, 4]),
    inferenceDelay: 1,
  }
  const batch = [{}, { continuation: guided }, { continuation: trained }]
  const plain = [1, -0.5, 0]
  const updates = stepUpdates(batch, [1, 0.5], size)
  t.equal(updates.length, 2 * 3 * 3 * 3)
  t.strictSame([...updates.subarray(0, 9)], [...plain, ...plain, ...plain], 'a row of its own is plain')
  t.strictSame([...updates.subarray(9, 18)], [0, 0.5, 1, 0, 0.5, 1, ...plain], 'held as far as rows are left')
  t.strictSame([...updates.subarray(18, 27)], [1, 0, 0, ...plain, ...plain], 'a given row stays')
  t.strictSame(
    [...stepTargets(batch, size)],
    [...[0, 0, 0, 0, 0, 0], ...[5, 6, 7, 8, 0, 0], ...[0, 0, 0, 0, 0, 0]],
  )
  const noise = new Float32Array(18).fill(9)
  giveRows(noise, batch, size)
  t.strictSame([...noise.subarray(0, 12)], new Array(12).fill(9))
  t.strictSame([...noise.subarray(12)], [1, 2, 9, 9, 9, 9], 'only the given rows')
})

t.test('a chunk that is too long or has no rows harms nothing', async t => {
  const size = { horizon: 2, actionDim: 1 }
  const guided = (previous: number[]): Continuation => ({
    mode: 'guided',
    previous: Float32Array.from(previous),
    inferenceDelay: 5,
    executionHorizon: 5,
    schedule: 'linear',
    maxGuidanceWeight: 1,
  })
  t.strictSame([...stepTargets([{ continuation: guided([1, 2, 3, 4]) }], size)], [1, 2])
  t.strictSame([...stepUpdates([{ continuation: guided([]) }], [1], size)], [1, -1, 0, 1, -1, 0])
})
