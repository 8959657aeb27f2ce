import { execFileSync } from 'node:child_process'
import { renameSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { faultyEngine } from './engine.js'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'

export const fault: Fault = {
  name: 'engine-hung',
  what: 'a call of the engine never returns (--engine-timeout 1000)',
  needs: () => (process.platform === 'win32' ? 'named pipes' : undefined),
  async run() {
    const { server, path } = await faultyEngine({
      flags: ['--engine-timeout', '1000', '--drain-timeout', '2000'],
    })
    const load = new Load(server.url)
    await load.recovery()
    execFileSync('mkfifo', [path('hang')])
    const start = performance.now()
    let unready = false
    while (!unready && performance.now() - start < 20_000) {
      unready = (await server.status('/readyz')) === 503
      await sleep(10)
    }
    renameSync(path('hang'), `${path('hang')}.before`)
    const recoveryMs = (await load.recovery()) + performance.now() - start
    return outcome(server, load, {
      recoveryMs,
      seen: '/readyz 503, all callers told ENGINE_HUNG, another worker loaded; SIGTERM ended it by SIGKILL, since the thread cannot be',
      ok: unready,
      exit: 'SIGKILL',
    })
  },
}
