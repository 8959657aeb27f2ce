import { built } from './built.js'
import { createEngine, type Engine } from './engines.js'

/** The child process of a load test: the real server, with its defaults, over the engine that the first argument names. */
const { loadConfig } = await built<typeof import('../src/config.js')>('config.js')
const { tuneProcess } =
  await built<typeof import('../src/commands/serve-process.js')>('commands/serve-process.js')
const { createServer } = await built<typeof import('../src/server/standalone.js')>('server/standalone.js')
const { Served } = await built<typeof import('../src/service/served.js')>('service/served.js')
const { PolicyService } = await built<typeof import('../src/service/service.js')>('service/service.js')
tuneProcess()
const config = loadConfig([], {})
const { policy, runtime } = await createEngine(JSON.parse(process.argv[2]!) as Engine)
const service = new PolicyService({
  policy,
  runtime: Promise.resolve(runtime),
  queue: { maxWaiting: config.queueLimit },
})
await service.start()
const app = await createServer([new Served(service, config)], config)
process.send?.(await app.listen({ port: 0, host: '127.0.0.1' }))

/** Whoever asks is told the processor time used so far, in milliseconds. */
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.((user + system) / 1000)
})
process.once('disconnect', () => process.exit(0))
