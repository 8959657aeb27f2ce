import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Outcome } from '../src/client/core/calls.js'
import { Driver } from '../src/client/driver.js'
import type { ClientError } from '../src/client/errors.js'
import { decodeMsgpack } from '../src/contract/msgpack.js'
import { frameOf, LoadSocket, type Target } from './load-socket.js'
import { LoadWire } from './load-wire.js'
import type { RobotFrames } from './observations.js'
import { Tally } from './tally.js'

const MAX_ROUND_TRIPS = 1_000_000
/** Of robots at a constant rate, before anything counts. */
const WARM_UP_MS = 1000

/** Each connection of `WS /` asks again as soon as it is answered. */
export async function closedLoop(
  target: Target,
  robots: readonly Pick<RobotFrames, 'msgpack'>[],
  seconds: number,
  tally = new Tally(),
): Promise<Tally> {
  const frames = robots.map(({ msgpack }) => frameOf(msgpack))
  const end = performance.now() + seconds * 1000
  await Promise.all(
    frames.map((frame, robot) => {
      const client = new LoadSocket(target, '/')
      let asked = 0
      let greeted = false
      client.socket.on('message', (_frame, isBinary) => {
        const now = performance.now()
        if (!isBinary) tally.errors += 1
        else if (greeted) tally.answered(robot, now - asked)
        greeted = true
        if (now >= end || !isBinary || tally.answers >= MAX_ROUND_TRIPS) return client.socket.close()
        asked = performance.now()
        tally.sent += 1
        client.write(frame)
      })
      client.socket.on('error', () => {
        tally.errors += 1
      })
      return client.closed()
    }),
  )
  return tally
}

export interface OpenLoop {
  seconds: number
  /** Observations a second of each robot. */
  hertz: number
  /** An answer to an observation older than this is stale. */
  staleAfterMs: number
  /** Of every observation on /stream. */
  deadlineMs?: number | undefined
}

/** One robot's end of a connection. */
interface LoadedRobot {
  readonly open: boolean
  /** Sends the observation of this moment. */
  send(): void
  end(): Promise<unknown>
}

/**
 * Each robot sends at a constant rate, whatever comes back, at its own phase: times count from the capture of an
 * observation to the arrival of its actions. Answers that come after a second, and while robots still send, count.
 */
async function openLoop(
  robots: RobotFrames[],
  { seconds, hertz }: OpenLoop,
  connect: (robot: number) => LoadedRobot,
  tally: Tally,
): Promise<Tally> {
  const periodMs = 1000 / hertz
  const start = performance.now() + 500
  const end = start + WARM_UP_MS + seconds * 1000
  const until = (time: number) => sleep(Math.max(0, time - performance.now()))
  const count = async () => {
    tally.counting = false
    await until(start + WARM_UP_MS)
    tally.counting = true
    await until(end)
    tally.counting = false
  }
  await Promise.all([
    count(),
    ...robots.map(async (_, at) => {
      const robot = connect(at)
      const phase = (periodMs * at) / robots.length
      for (let tick = 0; ; tick += 1) {
        const due = start + phase + tick * periodMs
        if (due >= end) break
        await until(due)
        if (!robot.open) continue
        if (tally.counting) tally.sent += 1
        robot.send()
      }
      await until(end + 200)
      await robot.end()
    }),
  ])
  return tally
}

/** `WS /stream`: latest wins, by the core of turbo-pi/client. */
export function streamLoad(target: Target, robots: RobotFrames[], load: OpenLoop): Promise<Tally> {
  const tally = new Tally()
  const { deadlineMs } = load
  const options = deadlineMs === undefined ? {} : { deadlineMs }
  return openLoop(
    robots,
    load,
    robot => {
      const wire = new LoadWire(robots[robot]!, deadlineMs)
      const driver = new Driver(target.url, wire, target, {
        ready: () => {},
        lost: (_error, final) => {
          if (final) tally.errors += 1
        },
        reconnecting: () => {},
        timed: () => {},
      })
      driver.tell((core, now) => core.start(now))
      const settle = (captured: number) => (outcome: Outcome) => {
        if ('chunk' in outcome) {
          tally.answered(robot, performance.now() - captured, load.staleAfterMs)
          if (!tally.counting) return
          const { coalesced, late, observationAgeMs } = outcome.chunk
          if (coalesced) tally.coalesced += 1
          if (late) tally.late += 1
          else if (deadlineMs !== undefined && observationAgeMs > deadlineMs) tally.lateAsFresh += 1
          return
        }
        const { code } = outcome.error as ClientError
        if (code === 'SUPERSEDED') tally.superseded += Number(tally.counting)
        else if (code === 'DEADLINE_EXCEEDED') tally.expired += Number(tally.counting)
        else if (code !== 'CONNECTION_CLOSED') tally.errors += 1
      }
      return {
        get open() {
          return driver.core.ready
        },
        send: () => {
          driver.tell((core, now) =>
            core.call({ observation: {}, options, capturedAt: now }, true, settle(now), now),
          )
        },
        end: async () => driver.tell((core, now) => core.close(now)),
      }
    },
    tally,
  )
}

/** `WS /` under the same load: every observation is answered, in order. */
export function fifoLoad(target: Target, robots: RobotFrames[], load: OpenLoop): Promise<Tally> {
  const tally = new Tally()
  return openLoop(
    robots,
    load,
    robot => {
      const client = new LoadSocket(target, '/')
      const frame = frameOf(robots[robot]!.msgpack)
      const captured: number[] = []
      let greeted = false
      client.socket.on('message', (_frame, isBinary) => {
        if (!isBinary) tally.errors += 1
        else if (greeted) tally.answered(robot, performance.now() - captured.shift()!, load.staleAfterMs)
        greeted = true
      })
      client.socket.on('error', () => {
        tally.errors += 1
      })
      const gone = client.closed()
      return {
        get open() {
          return client.socket.readyState === client.socket.OPEN
        },
        send: () => {
          captured.push(performance.now())
          client.write(frame)
        },
        end: () => {
          client.socket.terminate()
          return gone
        },
      }
    },
    tally,
  )
}

/** All robots send the same observation at once, round after round, each over a connection of its own. */
export async function burstLoad(
  { url, apiKey }: Target,
  frames: RobotFrames,
  connections: number,
  rounds: number,
): Promise<Tally> {
  const tally = new Tally()
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const headers = {
    'content-type': 'application/msgpack',
    'content-length': frames.msgpack.byteLength,
    ...(apiKey !== undefined && { authorization: `Api-Key ${apiKey}` }),
  }
  const post = async (robot: number) => {
    const asked = performance.now()
    tally.sent += 1
    const sent = request(`${url}/infer`, { method: 'POST', agent, headers }).end(frames.msgpack)
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    const body = await buffer(response)
    if (response.statusCode !== 200) tally.errors += 1
    else {
      tally.answered(robot, performance.now() - asked)
      if ((decodeMsgpack(body) as Record<string, unknown>)['coalesced']) tally.coalesced += 1
    }
  }
  for (let round = 0; round < rounds; round += 1) {
    await Promise.all(Array.from({ length: connections }, (_, robot) => post(robot)))
  }
  agent.destroy()
  return tally
}
