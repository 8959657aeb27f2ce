import { closeSync, fstatSync, openSync, readdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { FaultServer, folder } from './server.js'

export const fault: Fault = {
  name: 'cache-damaged',
  what: 'a page of zeros within the cached weights, before a start',
  async run() {
    const cache = folder()
    const flags = ['--cache-dir', cache]
    await (await FaultServer.start({ flags })).stop()
    damage(cache)
    const start = performance.now()
    const server = await FaultServer.start({ flags })
    const load = new Load(server.url)
    const recoveryMs = (await load.recovery()) + performance.now() - start
    const healed = server.logged('is damaged')
    return outcome(server, load, {
      recoveryMs,
      seen: healed ? 'noticed, said, lowered again' : 'nobody noticed',
      ok: healed,
    })
  },
}

function damage(cache: string): void {
  const models = join(cache, 'models')
  const file = readdirSync(models, { recursive: true, encoding: 'utf8' }).find(name =>
    name.endsWith('weights.bin'),
  )
  if (!file) throw new Error(`there is no weights.bin in ${models}`)
  const descriptor = openSync(join(models, file), 'r+')
  writeSync(descriptor, Buffer.alloc(4096), 0, 4096, Math.floor(fstatSync(descriptor).size / 2))
  closeSync(descriptor)
}
