import type { Fleet, FleetRobot } from '../../contract/page.js'
import type { Hold } from '../../service/held-robots.js'
import type { Served } from '../../service/served.js'
import { RobotFigures } from '../robot-figures.js'
import type { Robots } from '../robots.js'

/** Robots that the page shows, of all that are known. */
const MOST_SHOWN = 50

interface Seen {
  name: string
  connections: number
  figures: RobotFigures
}

/**
 * What the page shows of the robots: those first that are held, then those that had trouble in the last minute, then those
 * that were heard last.
 */
export function fleetOf(robots: Robots, policies: readonly Served[]): Fleet {
  const held = new Map<string, Hold>()
  for (const { current } of policies) for (const hold of current.service.held.list) held.set(hold.robot, hold)
  const known = new Map<string, Seen>()
  for (const robot of robots.known()) known.set(robot.name, robot)
  // The server may have forgotten the figures of one that it holds.
  for (const name of held.keys())
    if (!known.has(name)) known.set(name, { name, connections: 0, figures: new RobotFigures() })
  const ranked = Array.from(known.values(), robot => ({
    robot,
    held: held.get(robot.name),
    recent: robot.figures.recent,
  })).sort(
    (a, b) =>
      Number(b.held !== undefined) - Number(a.held !== undefined) ||
      Number(b.recent.troubled) - Number(a.recent.troubled) ||
      b.recent.at - a.recent.at,
  )
  return {
    known: ranked.length,
    robots: ranked.slice(0, MOST_SHOWN).map(({ robot, held }) => shownOf(robot, held)),
  }
}

function shownOf({ name, connections, figures }: Seen, held: Hold | undefined): FleetRobot {
  return {
    robot: name,
    connections,
    held: held ? { since: held.since, finding: held.finding } : null,
    ...figures.shown,
  }
}
