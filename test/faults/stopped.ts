import { setTimeout as sleep } from 'node:timers/promises'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { FaultServer } from './server.js'

export const fault: Fault = {
  name: 'stopped',
  what: 'SIGSTOP for 5 s, three times as long as an engine call may take, then SIGCONT',
  async run() {
    const server = await FaultServer.start({ flags: ['--engine-timeout', '1500', '--heartbeat', '2000'] })
    const load = new Load(server.url)
    await load.recovery()
    server.child.kill('SIGSTOP')
    await sleep(5000)
    server.child.kill('SIGCONT')
    const recoveryMs = await load.recovery()
    await sleep(2000)
    const hung = server.logged('does not return')
    return outcome(server, load, {
      recoveryMs,
      seen: hung ? 'it took its engine for hung' : 'it went on where it was, and took nothing for hung',
      ok: !hung,
    })
  },
}
