import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { faultyEngine } from './engine.js'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'

export const fault: Fault = {
  name: 'worker-killed',
  what: 'the thread of the engine dies, three times',
  async run() {
    const { server, path } = await faultyEngine()
    const load = new Load(server.url)
    const recovered: number[] = []
    for (let time = 0; time < 3; time += 1) {
      await load.recovery()
      writeFileSync(path('die'), '')
      const start = performance.now()
      await sleep(300)
      recovered.push(await load.recovery(start + 250))
    }
    return outcome(server, load, {
      recoveryMs: Math.max(...recovered),
      seen: 'what it had was answered RUNTIME_FAILED, and a new thread took its place',
      ok: server.logged('an inference worker was lost'),
    })
  },
}
