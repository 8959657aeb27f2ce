import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { FaultServer, POLICY } from './server.js'

const KEY = 'of-this-test'

export const fault: Fault = {
  name: 'swap',
  what: 'the policy is exchanged five times under load',
  async run() {
    const server = await FaultServer.start({ flags: ['--allow-swap'], env: { TURBO_PI_API_KEY: KEY } })
    const load = new Load(server.url, { apiKey: KEY })
    const statuses: number[] = []
    const recovered: number[] = []
    for (let time = 0; time < 5; time += 1) {
      const response = await fetch(`${server.url}/policies/tiny-libero/swap`, {
        method: 'POST',
        headers: { authorization: `Api-Key ${KEY}`, 'content-type': 'application/json' },
        body: JSON.stringify({ directory: POLICY }),
      })
      await response.arrayBuffer()
      statuses.push(response.status)
      recovered.push(await load.recovery())
    }
    return outcome(server, load, {
      recoveryMs: Math.max(...recovered),
      seen: `answered ${statuses.join(', ')}`,
      ok: statuses.every(status => status === 200),
    })
  },
}
