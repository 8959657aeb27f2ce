import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { TcpProxy } from '../support/tcp-proxy.js'
import { faultyEngine } from './engine.js'
import { type Outcome, outcome } from './fault.js'
import { Load } from './load.js'
import { jsonObservation } from './observation.js'
import type { FaultServer } from './server.js'

/** What one server outlives, done to it. */
type Blow = (server: FaultServer) => Promise<void>

const open = (port: number | string) =>
  new WebSocket(`ws://127.0.0.1:${port}/stream`, ['turbo-pi.v1+json']).on('error', () => {})

/** Connections that come and go, one of them within a frame. */
const churn: Blow = async ({ url }) => {
  const { port } = new URL(url)
  const proxy = await TcpProxy.before(Number(port))
  const robot = open(proxy.port)
  await new Promise(resolve => robot.once('message', resolve))
  proxy.become({ kind: 'cut', bytes: 1000 })
  robot.send(JSON.stringify({ type: 'observation', seq: 0, observation: jsonObservation }))
  for (let i = 0; i < 20; i += 1)
    connect(Number(port), '127.0.0.1')
      .on('error', () => {})
      .destroy()
  await sleep(500)
  await proxy.close()
}

const swallowed: Blow = async ({ url }) => {
  const proxy = await TcpProxy.before(Number(new URL(url).port))
  const robots = Array.from({ length: 5 }, () => open(proxy.port))
  await Promise.all(robots.map(robot => new Promise(resolve => robot.once('message', resolve))))
  proxy.become({ kind: 'swallow' })
  await sleep(2500)
  for (const robot of robots) robot.terminate()
  await proxy.close()
}

const nonsense: Blow = async ({ url }) => {
  for (let i = 0; i < 50; i += 1) {
    const response = await fetch(`${url}/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        ...jsonObservation,
        'observation/image': Buffer.alloc(10_000 + i).toString('base64'),
      }),
    })
    await response.arrayBuffer()
  }
}

const suspended: Blow = async ({ child }) => {
  child.kill('SIGSTOP')
  await sleep(2000)
  child.kill('SIGCONT')
}

/** Robots of one server for some minutes, while it is hit again and again. */
export async function soak(minutes: number): Promise<Outcome> {
  const { server, path } = await faultyEngine({ flags: ['--heartbeat', '1000'] })
  const load = new Load(server.url)
  const blows: readonly Blow[] = [
    churn,
    swallowed,
    nonsense,
    suspended,
    async () => writeFileSync(path('throw'), ''),
    async () => writeFileSync(path('die'), ''),
  ]
  const resident: number[] = []
  let worst = 0
  let count = 0
  for (const end = Date.now() + minutes * 60_000; Date.now() < end; count += 1) {
    await sleep(2000)
    await blows[count % blows.length]!(server)
    worst = Math.max(worst, await load.recovery())
    resident.push(server.resident)
  }
  const quarter = Math.max(1, Math.floor(resident.length / 4))
  const mean = (values: number[]) => Math.round(values.reduce((sum, value) => sum + value, 0) / values.length)
  const [early, late] = [mean(resident.slice(quarter, 2 * quarter)), mean(resident.slice(-quarter))]
  return outcome(server, load, {
    recoveryMs: worst,
    seen: `${count} faults; ${early} MiB in the second quarter, ${late} MiB in the last`,
    ok: late < 1.2 * early + 32,
  })
}
