import type { Fault } from './fault.js'
import { Load } from './load.js'
import { canMount } from './mounts.js'
import { FaultServer, folder } from './server.js'

export const fault: Fault = {
  name: 'disk-full',
  what: 'a start with a cache on a disk of 64 kB',
  needs: canMount,
  async run() {
    const cache = folder()
    const flags = ['--cache-dir', cache]
    const small = FaultServer.launch({
      flags,
      mounts: true,
      before: `mount -t tmpfs -o size=64k none '${cache}'`,
    })
    const [code] = await small.exited
    const refused = code === 1 && small.logged('CACHE_FAILED')
    const server = await FaultServer.start({ flags })
    const load = new Load(server.url)
    const recoveryMs = await load.recovery()
    const tally = await load.end()
    const end = await server.stop()
    return {
      ...tally,
      memory: server.memory,
      recoveryMs,
      seen: refused
        ? 'refused with CACHE_FAILED, which says how much is missing; with room it starts'
        : small.log.slice(-2).join(' '),
      ok: refused && end === 0,
    }
  },
}
