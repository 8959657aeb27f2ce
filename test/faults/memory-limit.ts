import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { jsonObservation } from './observation.js'
import { FaultServer } from './server.js'

export const fault: Fault = {
  name: 'memory-limit',
  what: '60 bodies of 8 MB, 12 at a time, at a heap of 128 MB',
  async run() {
    const server = await FaultServer.start({ node: ['--max-old-space-size=128'] })
    const load = new Load(server.url)
    const image = Buffer.alloc(6_000_000).toString('base64')
    const body = JSON.stringify({ ...jsonObservation, 'observation/image': image })
    const send = async () => {
      for (let time = 0; time < 5; time += 1)
        await fetch(`${server.url}/infer`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        }).then(
          response => response.arrayBuffer(),
          () => undefined,
        )
    }
    await Promise.all(Array.from({ length: 12 }, send))
    const recoveryMs = await load.recovery()
    return outcome(server, load, { recoveryMs, seen: 'each was refused, and nobody else', ok: true })
  },
}
