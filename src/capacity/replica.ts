import { Random } from '../tabletop/random.js'
import type { Profile } from './profile.js'
import { type Outcome, SimulatedServer, SimulatedSession } from './simulated-server.js'
import { type Delay, delayed } from './times.js'
import { VirtualClock } from './virtual-clock.js'

/** Milliseconds before figures count: a queue takes a while to become what it will be. */
const WARM_UP_MS = 2000
/** What was captured in the last milliseconds may not be answered any more. */
const REST_MS = 2000

/** How robots ask. */
export interface Load {
  /** Observations a second of each robot. */
  hertz: number
  /** Of the network, each way. */
  delay: Delay
  /** Milliseconds from its capture after which an observation is of no use; undefined: robots give no deadline. */
  deadlineMs: number | undefined
  /** Simulated seconds that figures are taken of. */
  seconds: number
  seed: number
  /** Robots begin at moments spread over a period evenly, or each when it happens to. */
  phases: 'even' | 'random'
  /** Places of a server's queue. */
  places: number
}

/** A robot of a replica. Numbers of robots differ in a fleet: each has random numbers of its own. */
export interface SimulatedRobot {
  readonly robot: number
  /** When it asks first; 0 unless it comes later from another replica. */
  readonly from: number
}

/** One observation that counts. Times are milliseconds of the simulation. */
export interface Observed {
  readonly robot: number
  readonly capturedAt: number
  readonly outcome: Outcome | 'under way'
  /** From its capture to the arrival of its actions, where it was answered. */
  readonly ageMs: number
}

export interface ReplicaFigures {
  observed: Observed[]
  /** Engine calls, and their rows together. */
  batches: number
  rows: number
  /** Share of the time that the busier lane of the engine was at work. */
  busy: number
}

export const END_MS = ({ seconds }: Pick<Load, 'seconds'>) => WARM_UP_MS + 1000 * seconds + REST_MS

/** One server and its robots, from an empty queue on. The same arguments give the same figures. */
export async function simulateReplica(
  profile: Profile,
  robots: readonly SimulatedRobot[],
  load: Load,
  onBatch: (startedAt: number, rows: number) => void = () => {},
): Promise<ReplicaFigures> {
  const clock = new VirtualClock()
  const { seed, places } = load
  const last = WARM_UP_MS + 1000 * load.seconds
  const counts = (at: number) => at >= WARM_UP_MS && at < last
  const figures: ReplicaFigures = { observed: [], batches: 0, rows: 0, busy: 0 }
  const busyMs = { perceive: 0, act: 0 }
  const server = new SimulatedServer(profile, clock, {
    seed: seed + (robots[0]?.robot ?? 0),
    places,
    observer: {
      batch: ({ length }) => {
        onBatch(clock.now(), length)
        if (!counts(clock.now())) return
        figures.batches += 1
        figures.rows += length
      },
      lane: ({ lane, start, end }) => {
        if (counts(start)) busyMs[lane] += end - start
      },
    },
  })
  for (const [at, { robot, from }] of robots.entries()) {
    const random = new Random(seed, robot)
    const periodMs = 1000 / load.hertz
    const phase = load.phases === 'even' ? at / robots.length : random.uniform()
    const session = new SimulatedSession(server, robot)
    let arrived = 0
    const capture = (tick: number) => {
      const capturedAt = clock.now()
      const next = from + (phase + tick + 1) * periodMs
      if (next < last) clock.after(next - capturedAt, () => capture(tick + 1))
      // Frames of one connection do not overtake each other.
      arrived = Math.max(arrived, capturedAt + delayed(load.delay, random.normal()))
      const awayMs = delayed(load.delay, random.normal())
      const place = counts(capturedAt) ? figures.observed.length : undefined
      const note = (outcome: Observed['outcome'], ageMs = Number.NaN) => {
        if (place !== undefined) figures.observed[place] = { robot, capturedAt, outcome, ageMs }
      }
      note('under way')
      clock.after(arrived - capturedAt, async () => {
        await server.wire()
        const outcome = await session.observe(tick, capturedAt, load.deadlineMs)
        if (outcome !== 'answered') return note(outcome)
        await server.wire()
        note(outcome, clock.now() + awayMs - capturedAt)
      })
    }
    clock.after(from + phase * periodMs, () => capture(0))
  }
  await clock.run(END_MS(load))
  const lanes = profile.lanes === 2 ? Math.max(busyMs.perceive, busyMs.act) : busyMs.perceive + busyMs.act
  figures.busy = lanes / (1000 * load.seconds)
  return figures
}
