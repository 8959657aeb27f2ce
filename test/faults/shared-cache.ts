import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { jsonObservation } from './observation.js'
import { FaultServer, folder } from './server.js'

export const fault: Fault = {
  name: 'shared-cache',
  what: 'two servers start at once with one empty cache; one of them is killed while both serve',
  async run() {
    const flags = ['--cache-dir', folder()]
    const [one, other] = await Promise.all([FaultServer.start({ flags }), FaultServer.start({ flags })])
    const same = JSON.stringify(await actions(one)) === JSON.stringify(await actions(other))
    const load = new Load(one.url)
    other.child.kill('SIGKILL')
    await other.exited
    const recoveryMs = await load.recovery()
    const third = await FaultServer.start({ flags })
    const again = JSON.stringify(await actions(third)) === JSON.stringify(await actions(one))
    await third.stop()
    return outcome(one, load, {
      recoveryMs,
      seen:
        same && again
          ? 'both gave the same actions, bit for bit, and so did a third after the kill'
          : 'actions differ',
      ok: same && again,
    })
  },
}

async function actions({ url }: FaultServer): Promise<unknown> {
  const response = await fetch(`${url}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...jsonObservation, options: { seed: 7, num_steps: 2 } }),
  })
  return ((await response.json()) as { actions: unknown }).actions
}
