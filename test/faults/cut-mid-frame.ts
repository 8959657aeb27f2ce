import { WebSocket } from 'ws'
import { TcpProxy } from '../support/tcp-proxy.js'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { jsonObservation } from './observation.js'
import { FaultServer } from './server.js'

export const fault: Fault = {
  name: 'cut-mid-frame',
  what: '50 connections that are cut within a frame, each at another byte',
  async run() {
    const server = await FaultServer.start()
    const load = new Load(server.url)
    const proxy = await TcpProxy.before(Number(new URL(server.url).port))
    const frame = JSON.stringify({ type: 'observation', seq: 0, observation: jsonObservation })
    for (let cut = 0; cut < 50; cut += 1) {
      proxy.become({ kind: 'forward' })
      const robot = new WebSocket(`ws://127.0.0.1:${proxy.port}/stream`, ['turbo-pi.v1+json'])
      robot.on('error', () => {})
      await new Promise(resolve => robot.once('message', resolve))
      proxy.become({ kind: 'cut', bytes: 1 + Math.floor((cut * frame.length) / 50) })
      const closed = new Promise(resolve => robot.once('close', resolve))
      robot.send(frame)
      await closed
    }
    await proxy.close()
    const recoveryMs = await load.recovery()
    return outcome(server, load, {
      recoveryMs,
      seen: 'nothing of a cut frame was taken for one',
      ok: !server.logged('"level":50'),
    })
  },
}
