import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { TcpProxy } from '../support/tcp-proxy.js'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { FaultServer } from './server.js'

const HEARTBEAT_MS = 500

export const fault: Fault = {
  name: 'half-open',
  what: '20 connections whose network swallows everything, so that neither side hears of it',
  async run() {
    const server = await FaultServer.start({ flags: ['--heartbeat', String(HEARTBEAT_MS)] })
    const load = new Load(server.url)
    const proxy = await TcpProxy.before(Number(new URL(server.url).port))
    const robots = Array.from(
      { length: 20 },
      () => new WebSocket(`ws://127.0.0.1:${proxy.port}/stream`, ['turbo-pi.v1+json']),
    )
    await Promise.all(robots.map(robot => new Promise(resolve => robot.once('message', resolve))))
    const before = await connections(server)
    const start = performance.now()
    proxy.become({ kind: 'swallow' })
    while ((await connections(server)) > before - 20 && performance.now() - start < 20_000) await sleep(50)
    const recoveryMs = performance.now() - start
    for (const robot of robots) robot.terminate()
    await proxy.close()
    const ok = recoveryMs < 20_000
    return outcome(server, load, {
      recoveryMs,
      seen: ok ? 'all 20 were dropped by the heartbeat' : 'they stayed',
      ok,
    })
  },
}

async function connections({ url }: FaultServer): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(/turbo_pi_connections\{protocol="turbo-pi.v1\+json"\} (\d+)/.exec(text)?.[1] ?? 0)
}
