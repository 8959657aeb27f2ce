import { fileURLToPath } from 'node:url'
import { SETTINGS } from '../src/config.js'
import { loadPolicy } from '../src/policy/load.js'
import { seededNoise } from '../src/policy/noise.js'
import { createServer } from '../src/server.js'
import { PolicyService } from '../src/service/service.js'
import { MeasuringRuntime } from './measuring-runtime.js'

/** The child process of a load test: the real server and the bundled policy over the measuring runtime. */
const [engineMs = 0, maxBatch = 8, lanes = 1] = process.argv.slice(2).map(Number)

const policy = await loadPolicy(fileURLToPath(new URL('../policies/tiny-libero', import.meta.url)))
const service = new PolicyService({
  policy,
  runtime: Promise.resolve(
    new MeasuringRuntime(policy.model, { engineMs, maxBatch, lanes: lanes === 2 ? 2 : 1 }),
  ),
  seededNoise,
  queue: { maxWaiting: SETTINGS.queueLimit.default },
})
await service.start()
const app = await createServer(service, {
  apiKey: undefined,
  bodyLimit: SETTINGS.bodyLimit.default,
  maxImages: SETTINGS.maxImages.default,
  heartbeat: SETTINGS.heartbeat.default,
  sendBuffer: SETTINGS.sendBuffer.default,
})
process.send?.(await app.listen({ port: 0, host: '127.0.0.1' }))
/** Whoever asks is told the processor time used so far, in milliseconds. */
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.((user + system) / 1000)
})
process.once('disconnect', () => process.exit(0))
