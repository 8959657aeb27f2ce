import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { FaultServer } from './server.js'

export const fault: Fault = {
  name: 'emfile',
  what: '400 connections to a server that may have 256 files open',
  async run() {
    const server = await FaultServer.start({ before: 'ulimit -n 256' })
    const load = new Load(server.url)
    await load.recovery()
    const { port } = new URL(server.url)
    const crowd = Array.from({ length: 400 }, () => connect(Number(port), '127.0.0.1').on('error', () => {}))
    await sleep(2000)
    for (const socket of crowd) socket.destroy()
    const recoveryMs = await load.recovery()
    return outcome(server, load, {
      recoveryMs,
      seen: 'who was connected was answered, who came too many was turned away',
      ok: true,
    })
  },
}
