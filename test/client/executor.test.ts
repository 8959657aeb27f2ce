import t from 'tap'
import { DelayEstimate } from '../../src/client/executor/delay.js'
import { runExecutor } from '../../src/client/index.js'
import { ChunkStage } from '../support/chunk-stage.js'

t.test('the delay is the longest measured, and sinks', t => {
  const delay = new DelayEstimate()
  for (const ms of [100, 300, 100]) delay.add(ms)
  t.equal(delay.ms, 280)
  for (let round = 0; round < 100; round += 1) delay.add(100)
  t.ok(delay.ms < 101)
  t.end()
})

t.test('a starved robot gets what a function makes of its last action', async t => {
  const stage = new ChunkStage({ starvation: last => [last[0]! / 2] })
  stage.tick()
  await stage.asked[0]!.answer(4, { rows: 1 })
  t.same(
    Array.from({ length: 3 }, () => stage.tick().action),
    [[4], [2], [2]],
  )
})

t.test('the loop ticks until it is told to stop', async t => {
  const { executor } = new ChunkStage()
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
  t.throws(() => new ChunkStage({ hertz: 0 }), RangeError)
})

t.test('the loop reports every action that it commands, with the row of the chunk that it is', async t => {
  const stage = new ChunkStage({ starvation: 'zero' })
  stage.tick()
  await stage.asked[0]!.answer(4, { rows: 3, chunk_id: 8 })
  const stop = new AbortController()
  const told: [number, number | undefined, number | undefined][] = []
  const commanded: (number | undefined)[] = []
  await runExecutor(stage.executor, {
    hertz: 200,
    observe: () => ({}),
    act: ({ action }) => {
      commanded.push(action?.[0])
      if (commanded.length === 4) stop.abort()
    },
    report: {
      executed: ([first], { chunk, row }) => told.push([first!, chunk?.chunkId, row]) > 0,
    },
    signal: stop.signal,
  })
  t.same(commanded, [4, 5, 6, 0])
  t.same(told, [
    [4, 8, 0],
    [5, 8, 1],
    [6, 8, 2],
    [0, undefined, undefined],
  ])
})
