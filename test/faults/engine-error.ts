import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { faultyEngine } from './engine.js'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'

export const fault: Fault = {
  name: 'engine-error',
  what: 'a call of the engine throws, ten times',
  async run() {
    const { server, path } = await faultyEngine()
    const load = new Load(server.url)
    const recovered: number[] = []
    for (let time = 0; time < 10; time += 1) {
      writeFileSync(path('throw'), '')
      const start = performance.now()
      await sleep(250)
      recovered.push(await load.recovery(start))
    }
    return outcome(server, load, {
      recoveryMs: Math.max(...recovered),
      seen: 'its batch was answered RUNTIME_FAILED, the next one was computed',
      ok: server.logged('the engine was told to fail'),
    })
  },
}
