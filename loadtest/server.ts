import { built } from './built.js'
import { createEngine, type Engine } from './engines.js'

/**
 * The child process of a load test: the real server, with its defaults, over the engine that the first argument names. The
 * second one is where it records, if it does.
 */
const { loadConfig } = await built<typeof import('../src/config.js')>('config.js')
const { tuneProcess } =
  await built<typeof import('../src/commands/serve-process.js')>('commands/serve-process.js')
const { createServer } = await built<typeof import('../src/server/standalone.js')>('server/standalone.js')
const { Served } = await built<typeof import('../src/service/served.js')>('service/served.js')
const { configuredRecorders } = await built<typeof import('../src/commands/kit/configured-recorders.js')>(
  'commands/kit/configured-recorders.js',
)
const { PolicyService } = await built<typeof import('../src/service/service.js')>('service/service.js')
tuneProcess()
const config = loadConfig(process.argv[3] ? ['--record', process.argv[3]] : [], {})
const { policy, runtime } = await createEngine(JSON.parse(process.argv[2]!) as Engine)
const service = new PolicyService({
  policy,
  runtime: Promise.resolve(runtime),
  queue: { maxWaiting: config.queueLimit, maxReplaceable: config.maxRobots },
})
await service.start()
const served = new Served(service, config)
const recorders = configuredRecorders(config, [served], () => app.log)
const app = await createServer([served], config, { recorders })
for (const recorder of recorders.values()) recorder.start()
process.send?.(await app.listen({ port: 0, host: '127.0.0.1' }))

/** Whoever asks is told the processor time used so far, in milliseconds. */
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.((user + system) / 1000)
})
process.once('disconnect', async () => {
  for (const recorder of recorders.values()) {
    const { observations, dropped } = await recorder.stop()
    console.error(`recorded ${observations} observations, ${dropped} dropped`)
  }
  process.exit(0)
})
