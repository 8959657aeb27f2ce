import t from 'tap'
import { type Demand, loseOne, plan, simulateFleet } from '../../src/capacity/fleet.js'
import type { Profile } from '../../src/capacity/profile.js'
import { type Load, simulateReplica } from '../../src/capacity/replica.js'
import { SimulatedServer, SimulatedSession } from '../../src/capacity/simulated-server.js'
import { summarised } from '../../src/capacity/summary.js'
import { VirtualClock } from '../../src/capacity/virtual-clock.js'
import { type Clock, SYSTEM_CLOCK } from '../../src/clock.js'

/** An engine whose calls take exactly so long. */
const exactly = (batches: [rows: number, ms: number][], rest: Partial<Profile> = {}): Profile => ({
  policy: 'made up',
  backend: 'none',
  precision: 'fp32',
  device: 'none',
  machine: 'none',
  cores: 64,
  lanes: 1,
  steps: 10,
  prepare: [[100, 0]],
  batches: batches.map(([rows, ms]) => ({
    rows,
    vision: [[100, ms / 4]],
    prefix: [[100, ms / 4]],
    denoise: [[100, ms / 2]],
  })),
  ...rest,
})

const LOAD: Load = {
  hertz: 5,
  delay: { p50: 0, p99: 0 },
  deadlineMs: undefined,
  seconds: 10,
  seed: 1,
  phases: 'random',
  places: 256,
}

const DEMAND: Demand = {
  ...LOAD,
  robots: 40,
  ageP99Ms: 200,
  leastAnswered: 0.99,
  sample: 4,
  reconnectMs: 250,
}

const robots = (count: number) => Array.from({ length: count }, (_, robot) => ({ robot, from: 0 }))

t.test('a robot alone waits for its engine, its preparation and the way there and back', async t => {
  const profile = exactly([[1, 40]], {
    prepare: [[100, 7]],
    wire: { threadMs: 2, latency: [[100, 6]] },
  })
  const load = { ...LOAD, delay: { p50: 3, p99: 3 } }
  const { ageP50, ageP99, answered, busy } = summarised([await simulateReplica(profile, robots(1), load)], 0)
  t.equal(answered, 1)
  // 40 + 7, the wire's (2 + (6 − 2) / 2 × 2) and twice the network's 3.
  t.ok(Math.abs(ageP50! - 59) < 1e-6, `${ageP50}`)
  t.ok(Math.abs(ageP99! - 59) < 1e-6)
  t.ok(Math.abs(busy - 0.2) < 1e-6, `${busy}`)
})

t.test('robots that take their turns evenly never wait', async t => {
  const replica = await simulateReplica(exactly([[1, 19]]), robots(10), { ...LOAD, phases: 'even' })
  t.ok(replica.observed.every(({ outcome, ageMs }) => outcome === 'answered' && Math.abs(ageMs - 19) < 1e-6))
})

t.test(
  'many robots wait as queueing theory says of random arrivals at a server of constant time (M/D/1)',
  async t => {
    const serviceMs = 1.4
    for (const utilisation of [0.3, 0.7]) {
      const count = 1000
      const hertz = (1000 * utilisation) / serviceMs / count
      const waits: number[] = []
      // Robots ask at the same moments of each period: more seeds tell more than more periods.
      for (const seed of [1, 1001, 2001, 3001, 4001, 5001]) {
        const load = { ...LOAD, hertz, seconds: 2 / hertz, seed }
        const { observed } = await simulateReplica(exactly([[1, serviceMs]]), robots(count), load)
        for (const { ageMs } of observed) waits.push(ageMs - serviceMs)
      }
      const expected = (utilisation * serviceMs) / (2 * (1 - utilisation))
      const waited = waits.reduce((sum, wait) => sum + wait, 0) / waits.length
      t.ok(Math.abs(waited / expected - 1) < 0.12, `waited ${waited}, expected ${expected}`)
    }
  },
)

t.test('what waits while the engine is at work forms the next batch', async t => {
  const profile = exactly([
    [1, 40],
    [8, 80],
  ])
  const sizes: number[] = []
  await simulateReplica(profile, robots(40), LOAD, (_, rows) => sizes.push(rows))
  t.ok(Math.max(...sizes) <= 8)
  t.ok(
    sizes.filter(rows => rows > 4).length > sizes.length / 2,
    'at 200 observations a second batches are large',
  )
})

t.test('an overloaded server answers what is newest, and leaves out the rest', async t => {
  const figures = summarised([await simulateReplica(exactly([[1, 50]]), robots(10), LOAD)], 200)
  t.ok(figures.busy > 0.99)
  // 20 of 50 observations a second.
  t.ok(Math.abs(figures.answered - 0.4) < 0.03, `${figures.answered}`)
  t.ok(Math.abs(figures.answered + figures.superseded - 1) < 0.03)
})

t.test('observations whose deadline has passed are not answered', async t => {
  const load = { ...LOAD, deadlineMs: 120 }
  const figures = summarised([await simulateReplica(exactly([[1, 50]]), robots(10), load)], 120)
  t.ok(figures.expired > 0.1, `${figures.expired}`)
  t.ok(figures.ageP99! <= 170 + 1e-6, 'the engine had taken it up in time')
})

t.test('lanes that overlap answer more', async t => {
  const one = exactly([[1, 50]])
  const [alone, overlapping] = await Promise.all(
    ([1, 2] as const).map(lanes => simulateReplica({ ...one, lanes }, robots(10), LOAD)),
  )
  const answered = summarised([overlapping!], 0).answered / summarised([alone!], 0).answered
  t.ok(answered > 1.9, `${answered}`)
})

t.test('the same seed gives the same figures, another seed others', async t => {
  const profile = exactly([[1, 20]], {
    prepare: [
      [50, 1],
      [99, 9],
    ],
  })
  const load = { ...LOAD, delay: { p50: 2, p99: 10 } }
  const [first, again, other] = [
    await simulateReplica(profile, robots(8), load),
    await simulateReplica(profile, robots(8), load),
    await simulateReplica(profile, robots(8), { ...load, seed: 2 }),
  ]
  t.equal(JSON.stringify(first), JSON.stringify(again))
  t.not(JSON.stringify(first), JSON.stringify(other))
})

t.test('more replicas never make answers older', async t => {
  const profile = exactly([
    [1, 30],
    [8, 90],
  ])
  let before = Number.POSITIVE_INFINITY
  for (const replicas of [1, 2, 4, 8, 40]) {
    const { ageP99 } = await simulateFleet(profile, replicas, { ...DEMAND, sample: 40 })
    t.ok(ageP99! <= before, `${replicas}: ${ageP99} after ${before}`)
    before = ageP99!
  }
  t.equal(before, 30, 'a replica for each robot leaves the engine alone')
})

t.test('a plan has the fewest replicas that do', async t => {
  const profile = exactly([
    [1, 30],
    [8, 90],
  ])
  const { replicas, fleet } = await plan(profile, { ...DEMAND, robots: 200, ageP99Ms: 150 })
  t.ok(replicas! > 1)
  t.ok(fleet.ageP99! <= 150)
  const fewer = await simulateFleet(profile, replicas! - 1, { ...DEMAND, robots: 200 })
  t.ok(fewer.ageP99! > 150 || fewer.answered < 0.99, `${fewer.ageP99}`)
})

t.test('no number of replicas makes an engine faster', async t => {
  const { replicas, fleet } = await plan(exactly([[1, 300]]), { ...DEMAND, hertz: 2 })
  t.equal(replicas, null)
  t.equal(fleet.ageP99, 300)
})

t.test(
  'robots of a lost node are without answers until they are connected elsewhere, and crowd the others',
  async t => {
    const profile = exactly([[1, 15]])
    const lost = await loseOne(profile, 4, DEMAND)
    t.equal(lost.robots, 10)
    t.equal(lost.replicas, 3)
    // Reconnected after 200…300 ms, then at most a period of 200 ms and an answer.
    t.ok(lost.outageP50! > 200 + 15)
    t.ok(lost.outageMost! < 300 + 200 + 200)
    const whole = await simulateFleet(profile, 4, DEMAND)
    t.ok(lost.after!.ageP99! > whole.ageP99!)
    t.match(await loseOne(profile, 1, DEMAND), { replicas: 0, after: null })
  },
)

/** What became of scripted observations, and the batches they were computed in. */
async function scripted(clock: Clock, whole: (ms: number) => Promise<void>) {
  const profile = exactly([
    [1, 200],
    [3, 300],
  ])
  const batches: number[] = []
  const server = new SimulatedServer(profile, clock, {
    seed: 1,
    places: 4,
    observer: { batch: ({ length }) => batches.push(length) },
  })
  const sessions = Array.from({ length: 6 }, (_, robot) => new SimulatedSession(server, robot))
  const outcomes: string[] = []
  const observe = (at: number, robot: number, seq: number, deadlineMs?: number) =>
    clock.after(at, async () => {
      const outcome = await sessions[robot]!.observe(seq, clock.now(), deadlineMs)
      outcomes.push(`${robot}.${seq} ${outcome}`)
    })
  observe(0, 0, 0)
  // While the engine is at work for 200 ms: one that is replaced, one that gives up, one that finds the queue full.
  for (const [at, robot] of [1, 2, 3].entries()) observe(40 + 10 * at, robot, 0)
  observe(100, 1, 1)
  observe(110, 4, 0, 60)
  observe(120, 5, 0)
  // A batch of three from 200 to 500, and what comes meanwhile.
  observe(300, 2, 1)
  observe(400, 0, 1)
  await whole(1200)
  return { batches, outcomes }
}

t.test('the queue decides on a virtual clock as it does in time', async t => {
  const clock = new VirtualClock()
  const simulated = await scripted(clock, ms => clock.run(ms))
  const inTime = await scripted(SYSTEM_CLOCK, ms => new Promise(resolve => setTimeout(resolve, ms)))
  t.strictSame(simulated, inTime)
  t.match(simulated.batches, [1, 3])
  t.ok(simulated.outcomes.includes('1.0 superseded'))
})
