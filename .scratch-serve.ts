import { SETTINGS } from '/work/wt/page/src/config.ts'
import { seededNoise } from '/work/wt/page/src/policy/noise.ts'
import { loadPolicy } from '/work/wt/page/src/policy/load.ts'
import { createCpuRuntime } from '/work/wt/page/src/runtime/cpu/cpu-runtime.ts'
import { createServer } from '/work/wt/page/src/server.ts'
import { PolicyService } from '/work/wt/page/src/service/service.ts'
const [dir, port, watch] = process.argv.slice(2)
const policy = await loadPolicy(dir!)
const service = new PolicyService({ policy, seededNoise, runtime: createCpuRuntime({ weightsPath: policy.weightsPath, config: policy.model, threads: 2, cache: '/tmp/page/cache' }) })
const d = Object.fromEntries(Object.entries(SETTINGS).map(([k, s]) => [k, s.default])) as any
const app = await createServer(service, { ...d, watchSessions: watch === 'watch' }, { level: 'warn' })
console.log(await app.listen({ port: Number(port), host: '127.0.0.1' }))
await service.start(); console.log('ready')
