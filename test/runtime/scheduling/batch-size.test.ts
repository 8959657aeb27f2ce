import t from 'tap'
import { simulateReplica } from '../../../src/capacity/replica.js'
import { VirtualClock } from '../../../src/capacity/virtual-clock.js'
import { batchSize } from '../../../src/runtime/scheduling/batch-size.js'
import { Dispatcher } from '../../../src/runtime/scheduling/dispatcher.js'
import { ServiceTimes } from '../../../src/runtime/scheduling/service-times.js'
import { ClockedRuntime } from '../../support/clocked-runtime.js'

const NONE = Number.POSITIVE_INFINITY
/** Ten milliseconds, and two a row. */
const end = (rows: number) => 10 + 2 * rows

t.test('while every deadline can be kept, the most urgent bound the batch that they are in', t => {
  t.match(batchSize([NONE, NONE], 8, end), { rows: 8, bounded: false }, 'there is none')
  t.match(batchSize([12, 40, 100, NONE], 8, end), { rows: 8, bounded: true })
  t.match(
    batchSize([12, 40], 8, () => 0),
    { rows: 8, bounded: true },
    'what was not measured is tried',
  )
  t.end()
})

t.test('once one cannot, the batch is the largest that is in time, without those it is too large for', t => {
  // Ends at 12, 14, 16, 18, 20 and 22.
  t.same(batchSize([5, 12, 13, 17, 18, 19, 20], 8, end), { rows: 3, notBefore: 16, bounded: false })
  t.same(batchSize([5, 18, 18, 18, 18], 8, end), { rows: 4, notBefore: 18, bounded: false })
  t.same(batchSize([5, 30, 30, NONE], 2, end), { rows: 2, notBefore: 14, bounded: false }, 'up to maxBatch')
  t.same(batchSize([5, 12], 8, end), { rows: 1, notBefore: 12, bounded: false })
  t.end()
})

t.test('when nobody can be in time, nobody is passed over', t => {
  t.same(batchSize([5, 6, 7], 8, end), { rows: 8, notBefore: Number.NEGATIVE_INFINITY, bounded: false })
  t.end()
})

t.test('what a size may need lies along a line between those measured, and in proportion outside', t => {
  const times = new ServiceTimes()
  t.equal(times.needed(10, 0)(4), 0, 'nothing is known')
  const learn = (rows: number, ms: number) => {
    for (const more of [0, 0, 2]) times.learn(rows, 10, ms + more, 0)
  }
  learn(4, 18)
  learn(8, 38)
  const needed = times.needed(10, 0)
  t.same([2, 4, 6, 8, 16].map(needed), [10, 20, 30, 40, 80], 'of the slowest of late')
  t.same([2, 6, 16].map(times.needed(3, 0)), [10, 30, 80], 'of the step count next to it')
  t.equal(times.needed(10, 10_001)(8), 0, 'an old measurement does not count')
  t.end()
})

/** An engine that takes 10 ms and 2 a row for a lane, with what it was given. */
async function asked(deadlines: (number | undefined)[]): Promise<number[][]> {
  const clock = new VirtualClock()
  const card = new ClockedRuntime(clock, { maxBatch: 8, cards: [0] })
  card.actMs = 10
  card.rowMs = 2
  const dispatcher = new Dispatcher(card, { clock })
  const ask = (token: number, deadline?: number) => {
    const ticket = dispatcher.admit({ session: `robot ${token}`, deadline })
    const row = { images: [null], tokens: Int32Array.of(token) }
    return dispatcher.submit(ticket, row, { noise: 0, steps: 2 }).catch(() => {})
  }
  // Batches of one and of eight are known: 20 and 48 ms.
  for (let round = 0; round < 3; round++)
    for (const rows of [1, 8]) {
      void ask(0)
      for (let row = 1; row < rows; row++) void ask(row)
      await clock.run(clock.now() + 500)
    }
  card.batches.length = 0
  void ask(100)
  for (const [at, ms] of deadlines.entries())
    void ask(101 + at, ms === undefined ? undefined : clock.now() + ms)
  await clock.run(clock.now() + 1000)
  return card.batches
}

t.test('a batch is as large as its most urgent row allows; the next one takes the rest', async t => {
  const [first, second, third] = await asked([55, 200, 200, 200, 200])
  t.same(first, [100])
  t.equal(second![0], 101, 'the most urgent is first')
  t.ok(second!.length < 5, `${second!.length} rows`)
  t.equal(second!.length + third!.length, 5)
  const [, unbounded] = await asked([undefined, undefined, 200])
  t.equal(unbounded!.length, 3, 'rows without a deadline bound nobody')
})

t.test('a row that cannot be in time costs the others nothing', async t => {
  const [, second, third] = await asked([30, 70, 70, 70])
  t.same(second, [102, 103, 104])
  t.equal(third, undefined, 'its deadline has passed meanwhile')
})

t.test('a hundred robots that ask for five times what there is are answered in time, and alike', async t => {
  // An H100 with 200 rows a second: 8 ms, and 4.2 a row.
  const ms = (rows: number) => 8 + 4.2 * rows
  const stages = (rows: number, share: number): [number, number][] => [
    [1, share * ms(rows)],
    [50, 1.02 * share * ms(rows)],
    [99, 1.12 * share * ms(rows)],
  ]
  const profile = {
    ...{ policy: 'made up', backend: 'none', precision: 'bf16', device: 'none', machine: 'none' },
    ...{ cores: 64, lanes: 1 as const, steps: 10, prepare: [[100, 0]] as [number, number][] },
    batches: [1, 32].map(rows => ({
      rows,
      vision: stages(rows, 0.3),
      prefix: stages(rows, 0.3),
      denoise: stages(rows, 0.4),
    })),
  }
  const robots = Array.from({ length: 100 }, (_, robot) => ({ robot, from: 0 }))
  const load = { hertz: 10, delay: { p50: 0, p99: 0 }, deadlineMs: 150, seconds: 10, seed: 3, places: 1024 }
  const { observed } = await simulateReplica(profile, robots, { ...load, phases: 'random' })
  const answered = observed.filter(({ outcome }) => outcome === 'answered')
  const inTime = answered.filter(({ ageMs }) => ageMs <= 150)
  t.ok(inTime.length >= 10 * 170, `${inTime.length / 10} a second in time`)
  t.ok(answered.length - inTime.length <= 0.02 * answered.length, `${answered.length - inTime.length} late`)
  const shares = robots.map(({ robot }) => inTime.filter(one => one.robot === robot).length)
  t.ok(Math.min(...shares) >= (0.8 * inTime.length) / 100, `${Math.min(...shares)} at least`)
})
