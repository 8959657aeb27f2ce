import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { canMount } from './mounts.js'
import { FaultServer, folder } from './server.js'

export const fault: Fault = {
  name: 'read-only',
  what: 'a cache, filled, that nobody can write',
  needs: canMount,
  async run() {
    const cache = folder()
    const flags = ['--cache-dir', cache]
    await (await FaultServer.start({ flags })).stop()
    const before = `mount --bind '${cache}' '${cache}' && mount -o remount,bind,ro '${cache}'`
    const server = await FaultServer.start({ flags, mounts: true, before })
    const load = new Load(server.url)
    const recoveryMs = await load.recovery()
    return outcome(server, load, { recoveryMs, seen: 'what is there is served', ok: true })
  },
}
