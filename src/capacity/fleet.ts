import { Random } from '../tabletop/random.js'
import type { Profile } from './profile.js'
import { END_MS, type Load, type ReplicaFigures, type SimulatedRobot, simulateReplica } from './replica.js'
import { type Summary, summarised } from './summary.js'
import { percentile } from './times.js'

/** What is asked of a fleet. */
export interface Demand extends Load {
  robots: number
  ageP99Ms: number
  /** Share of the observations that have to be answered: latest-wins keeps ages low by leaving out observations. */
  leastAnswered: number
  /** Replicas that are simulated, of as many as there are: they do not know of each other. */
  sample: number
  /** Milliseconds from the loss of a node until its robots are connected to others; varies by 20 %. */
  reconnectMs: number
  signal?: AbortSignal
}

/** What the loss of one node costs. */
export interface Loss {
  /** Robots that it served. */
  robots: number
  /** Replicas that go on. */
  replicas: number
  /** Milliseconds from the loss to the first new answer of one of its robots; null where none goes on. */
  outageP50: number | null
  outageMost: number | null
  /** From then on; null where none goes on. */
  after: Summary | null
}

export interface Plan {
  /** The fewest that meet the demand; null when a single robot's observations are too old. */
  replicas: number | null
  robotsPerReplica: number
  fleet: Summary
  lost: Loss | null
}

const meets = ({ ageP99, answered }: Summary, { ageP99Ms, leastAnswered }: Demand) =>
  ageP99 !== null && ageP99 <= ageP99Ms && answered >= leastAnswered

/** Robots of replica `at` of `replicas`: shared out evenly, those of one replica with numbers next to each other. */
function robotsOf(at: number, replicas: number, robots: number): SimulatedRobot[] {
  const first = Math.ceil((robots * at) / replicas)
  const next = Math.ceil((robots * (at + 1)) / replicas)
  return Array.from({ length: next - first }, (_, robot) => ({ robot: first + robot, from: 0 }))
}

/** The fleet of so many replicas, or a sample of it. */
export async function simulateFleet(profile: Profile, replicas: number, demand: Demand): Promise<Summary> {
  const figures: ReplicaFigures[] = []
  for (let at = 0; at < Math.min(replicas, demand.sample); at += 1) {
    demand.signal?.throwIfAborted()
    figures.push(await simulateReplica(profile, robotsOf(at, replicas, demand.robots), demand))
  }
  return summarised(figures, demand.ageP99Ms)
}

/** The fewest replicas that meet a demand, and what the loss of one of them costs. */
export async function plan(profile: Profile, demand: Demand): Promise<Plan> {
  const { robots } = demand
  const tried = new Map<number, Summary>()
  const works = async (replicas: number) => {
    const fleet = tried.get(replicas) ?? (await simulateFleet(profile, replicas, demand))
    tried.set(replicas, fleet)
    return meets(fleet, demand)
  }
  // Replicas are tried from the robots that one serves: each double of them until it is too much.
  let most = 1
  if (!(await works(robots))) {
    return { replicas: null, robotsPerReplica: 1, fleet: tried.get(robots)!, lost: null }
  }
  while (most < robots && (await works(Math.ceil(robots / Math.min(robots, 2 * most)))))
    most = Math.min(robots, 2 * most)
  let enough = Math.ceil(robots / most)
  let few = most === robots ? 0 : Math.ceil(robots / (2 * most))
  while (enough - few > 1) {
    const replicas = (enough + few) >> 1
    if (await works(replicas)) enough = replicas
    else few = replicas
  }
  await works(enough)
  return {
    replicas: enough,
    robotsPerReplica: Math.ceil(robots / enough),
    fleet: tried.get(enough)!,
    lost: await loseOne(profile, enough, demand),
  }
}

/** Half way through, the last replica is lost, and its robots are shared out among the others. */
export async function loseOne(profile: Profile, replicas: number, demand: Demand): Promise<Loss> {
  const left = replicas - 1
  const orphans = robotsOf(left, replicas, demand.robots)
  if (left === 0)
    return { robots: orphans.length, replicas: 0, outageP50: null, outageMost: null, after: null }
  const lostAt = END_MS(demand) / 2
  const random = new Random(demand.seed, demand.robots)
  const coming = orphans.map(({ robot }) => ({
    robot,
    from: lostAt + demand.reconnectMs * random.range(0.8, 1.2),
  }))
  const figures: ReplicaFigures[] = []
  const outages: number[] = []
  for (let at = 0; at < Math.min(left, demand.sample); at += 1) {
    demand.signal?.throwIfAborted()
    const joining = coming.filter((_, robot) => robot % left === at)
    const served = [...robotsOf(at, replicas, demand.robots), ...joining]
    const replica = await simulateReplica(profile, served, { ...demand, phases: 'random' })
    figures.push(replica)
    for (const { robot } of joining) {
      const answers = replica.observed.filter(one => one.robot === robot && one.outcome === 'answered')
      const arrivals = answers.map(({ capturedAt, ageMs }) => capturedAt + ageMs)
      outages.push(Math.min(...arrivals) - lostAt)
    }
  }
  outages.sort((a, b) => a - b)
  return {
    robots: orphans.length,
    replicas: left,
    outageP50: outages.length > 0 ? percentile(outages, 50) : null,
    outageMost: outages.length > 0 ? percentile(outages, 100) : null,
    after: summarised(figures, demand.ageP99Ms, ({ capturedAt }) => capturedAt >= lostAt),
  }
}
