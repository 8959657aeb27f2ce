import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from './fault.js'
import { Load } from './load.js'
import { FaultServer } from './server.js'

export const fault: Fault = {
  name: 'sigterm',
  what: 'SIGTERM while 12 robots wait for answers (--drain-timeout 10000)',
  async run() {
    const server = await FaultServer.start()
    const load = new Load(server.url, { robots: 12 })
    await sleep(3000)
    // What is sent from here on is not accepted: the server says so.
    load.pause()
    const start = performance.now()
    const stopped = server.stop()
    const [end, tally] = await Promise.all([
      stopped.then(end => ({ end, ms: performance.now() - start })),
      load.end(),
    ])
    return {
      ...tally,
      memory: server.memory,
      recoveryMs: end.ms,
      seen: `it ended with ${end.end}, ${Math.round(end.ms)} ms after SIGTERM`,
      ok: end.end === 0 && end.ms < 12_000,
    }
  },
}
