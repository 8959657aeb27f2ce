import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { MAX_UNANSWERED } from '../src/client/stream.js'
import { decodeMsgpack, encodeMsgpack, Float } from '../src/contract/msgpack.js'
import type { RobotFrames } from './observations.js'
import { Tally } from './tally.js'

export interface Target {
  /** For example `http://127.0.0.1:8000`. */
  url: string
  apiKey: string | undefined
}

const MAX_ROUND_TRIPS = 1_000_000

function connect({ url, apiKey }: Target, path: string, protocols: string[] = []): WebSocket {
  return new WebSocket(url.replace(/^http/, 'ws') + path, protocols, {
    perMessageDeflate: false,
    ...(apiKey !== undefined && { headers: { authorization: `Api-Key ${apiKey}` } }),
  })
}

const closed = (socket: WebSocket) => new Promise(resolve => socket.once('close', resolve))

/** Each connection of `WS /` asks again as soon as it is answered. */
export async function closedLoop(target: Target, robots: RobotFrames[], seconds: number): Promise<Tally> {
  const tally = new Tally()
  const end = performance.now() + seconds * 1000
  await Promise.all(
    robots.map(async ({ msgpack }, robot) => {
      const socket = connect(target, '/')
      let asked = 0
      const ask = () => {
        asked = performance.now()
        tally.sent += 1
        socket.send(msgpack)
      }
      let greeted = false
      socket.on('message', (_frame, isBinary) => {
        const now = performance.now()
        if (!isBinary) tally.errors += 1
        else if (greeted) tally.answered(robot, now - asked)
        greeted = true
        if (now < end && isBinary && tally.sent < MAX_ROUND_TRIPS) ask()
        else socket.close()
      })
      socket.on('error', () => {
        tally.errors += 1
      })
      await closed(socket)
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
  open: (robot: number) => { socket: WebSocket; send(): void },
  tally: Tally,
): Promise<Tally> {
  const periodMs = 1000 / hertz
  const start = performance.now() + 500
  const end = start + seconds * 1000
  await Promise.all(
    robots.map(async (_, robot) => {
      const { socket, send } = open(robot)
      socket.on('error', () => {
        tally.errors += 1
      })
      const gone = closed(socket)
      const phase = (periodMs * robot) / robots.length
      for (let tick = 0; ; tick += 1) {
        const due = start + phase + tick * periodMs
        if (due >= end) break
        await sleep(Math.max(0, due - performance.now()))
        if (socket.readyState !== WebSocket.OPEN) continue
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
      const socket = connect(target, '/stream', ['turbo-pi.v1+msgpack'])
      const captured: number[] = []
      let held: number | undefined
      let unanswered = 0
      socket.on('message', frame => {
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
        const frame = encodeMsgpack({
          type: 'observation',
          seq: captured.length,
          observation: robots[robot]!.observation(captured.length),
          captured_at: new Float(held),
          sent_at: new Float(performance.now()),
        })
        captured.push(held)
        held = undefined
        unanswered += 1
        socket.send(frame)
      }
      const send = () => {
        if (held !== undefined) tally.superseded += 1
        held = performance.now()
        flush()
      }
      return { socket, send }
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
      const socket = connect(target, '/')
      const captured: number[] = []
      let greeted = false
      socket.on('message', (_frame, isBinary) => {
        if (!isBinary) tally.errors += 1
        else if (greeted) tally.answered(robot, performance.now() - captured.shift()!, load.staleAfterMs)
        greeted = true
      })
      const send = () => {
        captured.push(performance.now())
        socket.send(robots[robot]!.msgpack)
      }
      return { socket, send }
    },
    tally,
  )
}

/** All robots send the same observation at once, round after round. */
export async function burstLoad(
  target: Target,
  frames: RobotFrames,
  connections: number,
  rounds: number,
): Promise<Tally> {
  const tally = new Tally()
  const headers = {
    'content-type': 'application/msgpack',
    ...(target.apiKey !== undefined && { authorization: `Api-Key ${target.apiKey}` }),
  }
  for (let round = 0; round < rounds; round += 1) {
    await Promise.all(
      Array.from({ length: connections }, async (_, robot) => {
        const asked = performance.now()
        tally.sent += 1
        const response = await fetch(`${target.url}/infer`, { method: 'POST', headers, body: frames.msgpack })
        const body = new Uint8Array(await response.arrayBuffer())
        if (!response.ok) tally.errors += 1
        else {
          tally.answered(robot, performance.now() - asked)
          if ((decodeMsgpack(body) as Record<string, unknown>)['coalesced']) tally.coalesced += 1
        }
      }),
    )
  }
  return tally
}

/** Asks /healthz every 20 ms until stopped; gives its times. */
export function watchHealth({ url }: Target): { stop(): Promise<Tally> } {
  const tally = new Tally()
  let going = true
  const done = (async () => {
    while (going) {
      const asked = performance.now()
      const response = await fetch(`${url}/healthz`)
      await response.text()
      tally.answered(0, performance.now() - asked)
      await sleep(20)
    }
  })()
  return {
    stop: async () => {
      going = false
      await done
      return tally
    },
  }
}
