import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { DelayEstimate } from '../../src/client/executor/delay.js'
import {
  type ActionChunk,
  ChunkExecutor,
  type ClientObservation,
  type ExecutorOptions,
  type ObserveOptions,
  runExecutor,
  type Tick,
} from '../../src/client/index.js'

interface Asked {
  observation: ClientObservation
  options: ObserveOptions
  /** Answers with a chunk whose actions are `base`, `base + 1`, … */
  answer(base: number, rows?: number): Promise<void>
  fail(message: string): Promise<void>
}

/** An executor whose source and clock are the test's; a tick takes 100 ms. */
function setUp(options: Partial<ExecutorOptions> = {}) {
  const asked: Asked[] = []
  const clock = { now: 0 }
  let chunks = 0
  const source = {
    session: 's',
    generation: 0,
    infer(observation: ClientObservation, options: ObserveOptions): Promise<ActionChunk> {
      return new Promise((resolve, reject) => {
        asked.push({
          observation,
          options,
          async answer(base, rows = 6) {
            const actions = Array.from({ length: rows }, (_, row) => [base + row])
            resolve({ actions, chunkId: chunks++, session: 's', generation: 0 } as ActionChunk)
            await turn()
          },
          async fail(message) {
            reject(new Error(message))
            await turn()
          },
        })
      })
    },
  }
  const executor = new ChunkExecutor(source, {
    strategy: 'aligned',
    hertz: 10,
    starvation: 'hold',
    now: () => clock.now,
    ...options,
  })
  let ticks = 0
  const tick = (): Tick => {
    const result = executor.tick(() => ({ tick: ticks }))
    ticks += 1
    clock.now += 100
    return result
  }
  const play = (count: number) => Array.from({ length: count }, () => tick().action?.[0])
  return { executor, source, asked, clock, tick, play }
}

t.test(
  'aligned: the next chunk is asked for in time, and merged by the actions that have passed',
  async t => {
    const { asked, play, tick } = setUp()
    t.same(tick(), { action: undefined, from: 'nothing' })
    t.same(play(1), [undefined])
    t.equal(asked.length, 1, 'one call at a time')
    await asked[0]!.answer(0)
    t.same(play(3), [0, 1, 2], 'waiting before the first chunk costs no row')
    t.same(play(1), [3])
    t.equal(asked.length, 2, 'half of the chunk is over')
    t.same(asked[1]!.observation, { tick: 5 }, 'with the observation of that tick')
    t.same(play(1), [4])
    await asked[1]!.answer(100)
    t.same(tick(), { action: [102], from: 'seam' }, 'two actions have passed since its observation')
    t.same(play(1), [103])
    t.equal(asked.length, 3)
  },
)

t.test('a longer delay is asked for earlier', async t => {
  const { executor, asked, play, clock } = setUp({ executionHorizon: 5 })
  play(1)
  clock.now += 200
  await asked[0]!.answer(0)
  t.equal(executor.delayTicks, 3)
  play(2)
  t.equal(asked.length, 1)
  play(1)
  t.equal(asked.length, 2, 'four actions are left, three of them for the delay')
})

t.test('the delay is the longest measured, and sinks', t => {
  const delay = new DelayEstimate()
  for (const ms of [100, 300, 100]) delay.add(ms)
  t.equal(delay.ms, 280)
  for (let round = 0; round < 100; round += 1) delay.add(100)
  t.ok(delay.ms < 101)
  t.end()
})

t.test('a robot without an action holds, stops, or does what it is told, and says so once', async t => {
  for (const [starvation, expected] of [
    ['hold', 1],
    ['zero', 0],
    [(last: readonly number[]) => [last[0]! / 2], 0.5],
  ] as const) {
    const { executor, asked, tick, play } = setUp({ starvation, graceTicks: 1 })
    const starved: number[] = []
    executor.on('starved', event => starved.push(event.tick))
    play(1)
    await asked[0]!.answer(0, 2)
    play(2)
    t.same(tick(), { action: [1], from: 'grace' })
    t.same(tick(), { action: [expected], from: 'starved' })
    t.same(tick(), { action: [expected], from: 'starved' })
    t.same(starved, [2], 'told once')
    await asked[1]!.answer(10, 3)
    t.same(tick(), { action: [12], from: 'seam' }, 'two actions have passed; ticks without one do not count')
  }
})

t.test('sync: the robot waits for each chunk, and plays it from its first row', async t => {
  const { asked, play, tick } = setUp({ strategy: 'sync', executionHorizon: 2 })
  play(1)
  await asked[0]!.answer(0)
  t.same(play(2), [0, 1])
  t.equal(asked.length, 1)
  t.same(tick(), { action: [1], from: 'starved' })
  t.equal(asked.length, 2)
  await asked[1]!.answer(10)
  t.same(play(2), [10, 11])
})

t.test('blend leads over from the old chunk, in the dimensions that may be', async t => {
  const { asked, play } = setUp({ strategy: 'blend', blendTicks: 1 })
  play(1)
  await asked[0]!.answer(0)
  play(4)
  await asked[1]!.answer(100)
  t.same(play(2), [(4 + 101) / 2, 102], 'half way, then the new one')

  const gripper = setUp({ strategy: 'blend', blendTicks: 1, continuous: [false] })
  gripper.play(1)
  await gripper.asked[0]!.answer(0)
  gripper.play(4)
  await gripper.asked[1]!.answer(100)
  t.same(gripper.play(1), [101])
})

t.test('rtc asks the server to continue the chunk being executed', async t => {
  const { asked, play, source } = setUp({ strategy: 'rtc', rtc: { schedule: 'exp' } })
  play(1)
  t.notOk('rtc' in asked[0]!.options, 'there is nothing to continue yet')
  await asked[0]!.answer(0)
  play(4)
  t.same(asked[1]!.options.rtc, { schedule: 'exp', previousChunkId: 0, consumed: 3, inferenceDelay: 1 })
  await asked[1]!.fail('no such chunk')
  play(1)
  t.notOk('rtc' in asked[2]!.options, 'after a failure afresh')
  await asked[2]!.answer(20)
  source.session = 'another connection'
  play(3)
  t.equal(asked.length, 4)
  t.notOk('rtc' in asked[3]!.options, 'another connection does not know the chunk')
})

t.test('failures are told, and asked again', async t => {
  const { executor, asked, play } = setUp()
  const failures: string[] = []
  executor.on('failed', ({ error }) => failures.push(error.message))
  play(1)
  await asked[0]!.fail('no connection')
  play(1)
  t.equal(asked.length, 2)
  t.same(failures, ['no connection'])
})

t.test('a chunk whose rows have all passed is stale', async t => {
  const { executor, asked, play } = setUp()
  const stale: number[] = []
  executor.on('stale', ({ tick }) => stale.push(tick))
  play(1)
  await asked[0]!.answer(0, 8)
  play(8)
  await asked[1]!.answer(100, 3)
  t.same(stale, [8])
  t.same(play(1), [7], 'and not played')
})

t.test('after a reset nothing of before is played', async t => {
  const { executor, asked, play } = setUp()
  play(1)
  executor.reset()
  t.same(play(1), [undefined])
  t.equal(asked.length, 2)
  await asked[0]!.answer(0)
  t.same(play(1), [undefined], 'the answer was for the episode before')
  await asked[1]!.answer(50)
  t.same(play(1), [50])
})

t.test('the loop ticks until it is told to stop', async t => {
  const { executor } = setUp()
  const stop = new AbortController()
  let acts = 0
  await runExecutor(executor, {
    hertz: 200,
    observe: () => ({}),
    act: () => {
      acts += 1
      if (acts === 5) stop.abort()
    },
    signal: stop.signal,
  })
  t.equal(acts, 5)
  t.throws(() => setUp({ hertz: 0 }), RangeError)
})
