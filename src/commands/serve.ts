import closeWithGrace from 'close-with-grace'
import { loadConfig, settingsHelp } from '../config.js'
import { seededNoise } from '../policy/noise.js'
import { createRuntime } from '../runtime/create.js'
import { createServer } from '../server.js'
import { PolicyService } from '../service/service.js'
import { configuredPolicy } from './configured-policy.js'

export const help = `turbo-pi serve [options]

Serves a policy over HTTP and WebSocket. Each option can also be given by its environment variable
(docs/reference/config.md).

${settingsHelp()}`

/** Listens at once, so that /healthz answers while the engine loads; resolves when told to stop and drained. */
export async function run(argv: string[]): Promise<number> {
  const config = loadConfig(argv)
  const policy = await configuredPolicy(config)
  const service = new PolicyService({
    policy,
    runtime: createRuntime(policy, config),
    seededNoise,
    queue: { maxWaiting: config.queueLimit, drainMs: config.drainTimeout },
  })
  const app = await createServer(service, config, { level: config.logLevel })
  const stopped = new Promise<void>(resolve => {
    closeWithGrace({ delay: config.drainTimeout + 2000, logger: app.log }, async ({ err }) => {
      if (err) app.log.error(err)
      await service.close()
      await app.close()
      resolve()
    })
  })
  await app.listen({ host: config.host, port: config.port })
  await service.start()
  app.log.info({ policy: policy.name, ...service.metadata().runtime }, 'ready')
  await stopped
  return 0
}
