import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { MAX_UNANSWERED } from '../src/client/stream.js'
import { decodeMsgpack } from '../src/contract/msgpack.js'
import { FrameTemplate, frameOf, LoadSocket, type Target } from './load-socket.js'
import type { RobotFrames } from './observations.js'
import { Tally } from './tally.js'

const MAX_ROUND_TRIPS = 1_000_000

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
}

/**
 * Each robot sends at a constant rate, whatever comes back, at its own phase: times count from the capture of an
 * observation to the arrival of its actions.
 */
async function openLoop(
  robots: RobotFrames[],
  { seconds, hertz }: OpenLoop,
  open: (robot: number) => { client: LoadSocket; send(): void },
  tally: Tally,
): Promise<Tally> {
  const periodMs = 1000 / hertz
  const start = performance.now() + 500
  const end = start + seconds * 1000
  await Promise.all(
    robots.map(async (_, robot) => {
      const { client, send } = open(robot)
      const { socket } = client
      socket.on('error', () => {
        tally.errors += 1
      })
      const gone = client.closed()
      const phase = (periodMs * robot) / robots.length
      for (let tick = 0; ; tick += 1) {
        const due = start + phase + tick * periodMs
        if (due >= end) break
        await sleep(Math.max(0, due - performance.now()))
        if (socket.readyState !== socket.OPEN) continue
        tally.sent += 1
        send()
      }
      await sleep(Math.max(0, end + 200 - performance.now()))
      socket.terminate()
      await gone
    }),
  )
  return tally
}

/** `WS /stream`: latest wins. */
export function streamLoad(target: Target, robots: RobotFrames[], load: OpenLoop): Promise<Tally> {
  const tally = new Tally()
  return openLoop(
    robots,
    load,
    robot => {
      const client = new LoadSocket(target, '/stream', ['turbo-pi.v1+msgpack'])
      const template = new FrameTemplate(4, ([seq, capturedAt, sentAt, moving]) => ({
        type: 'observation',
        seq: seq!,
        captured_at: capturedAt!,
        sent_at: sentAt!,
        observation: robots[robot]!.observation(moving!),
      }))
      const captured: number[] = []
      let held: number | undefined
      let unanswered = 0
      client.socket.on('message', frame => {
        const message = decodeMsgpack(frame as Buffer) as Record<string, unknown>
        const seq = message['seq'] as number
        if (message['type'] === 'actions') {
          tally.answered(robot, performance.now() - captured[seq]!, load.staleAfterMs)
          if (message['coalesced']) tally.coalesced += 1
        } else if (message['type'] === 'error') tally.errors += 1
        else if (message['reason'] === 'superseded') tally.superseded += 1
        else if (message['reason'] === 'expired') tally.expired += 1
        if (message['type'] === 'ready') return
        unanswered -= 1
        flush()
      })
      // As turbo-pi/client does it: what finds no room on its way is replaced by what is newer.
      const flush = () => {
        if (held === undefined || unanswered >= MAX_UNANSWERED) return
        const seq = captured.length
        client.write(...template.frame([seq, held, performance.now(), seq / 1000]))
        captured.push(held)
        held = undefined
        unanswered += 1
      }
      const send = () => {
        if (held !== undefined) tally.superseded += 1
        held = performance.now()
        flush()
      }
      return { client, send }
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
      const send = () => {
        captured.push(performance.now())
        client.write(frame)
      }
      return { client, send }
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
