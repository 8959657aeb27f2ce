import { setTimeout as sleep } from 'node:timers/promises'
import { repositoryPath } from '../support/served-policy.js'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { FaultServer } from './server.js'

export const fault: Fault = {
  name: 'clock-jumps',
  what: 'the server’s clock jumps an hour forwards, back, and two years forwards',
  async run() {
    const server = await FaultServer.start({
      node: [`--require=${repositoryPath('test/faults/jumping-clock.cjs')}`],
    })
    const load = new Load(server.url)
    const recovered: number[] = []
    for (let jump = 0; jump < 4; jump += 1) {
      await sleep(500)
      server.child.kill('SIGWINCH')
      recovered.push(await load.recovery())
    }
    const { refused } = load.tally
    return outcome(server, load, {
      recoveryMs: Math.max(...recovered),
      seen: `answers went on; ${refused} were refused`,
      ok: true,
    })
  },
}
