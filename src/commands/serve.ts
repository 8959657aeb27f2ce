import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import { type Config, loadConfig, settingsHelp } from '../config.js'
import { reasonOf, TurboPiError } from '../errors.js'
import { createRuntime, requireRuntime } from '../runtime/backends.js'
import { createServer } from '../server/standalone.js'
import { PolicyService } from '../service/service.js'
import { bytesProgress } from './kit/bytes-progress.js'
import { configuredPolicy } from './kit/configured-policy.js'
import { collectSeldom } from './serve-heap.js'

export const help = `turbo-pi serve [options]

Serves a policy over HTTP and WebSocket. Each option can also be given by its environment variable
(docs/reference/config.md).

${settingsHelp()}`

/** close-with-grace ends the process once the server has drained. */
const endOfProcess = new Promise<never>(() => {})

/** Listens at once, so that /healthz answers while the engine loads. */
export async function run(argv: string[]): Promise<number> {
  collectSeldom()
  const config = loadConfig(argv)
  requireRuntime(config)
  const policy = await configuredPolicy(config)
  const stopping = new AbortController()
  const notices = new Notices()
  const service = new PolicyService({
    policy,
    runtime: createRuntime(policy, {
      ...config,
      onProgress: bytesProgress('Lowering the checkpoint'),
      signal: stopping.signal,
      onNotice: text => notices.add(text),
    }),
    queue: { maxWaiting: config.queueLimit, drainMs: config.drainTimeout },
    warn: (message, error) => app.log.error({ err: error }, message),
  })
  const app = await createServer(service, config, { level: config.logLevel })
  notices.passTo(text => app.log.info(text))
  const stop = async () => {
    stopping.abort()
    await service.close()
    await app.close()
  }
  const grace = closeWithGrace({ delay: config.drainTimeout + 2000, logger: app.log }, async ({ err }) => {
    if (err) app.log.error(err)
    await stop()
  })
  try {
    await listen(app, config)
    await service.start()
  } catch (error) {
    if (stopping.signal.aborted) return endOfProcess
    grace.uninstall()
    await stop()
    throw error
  }
  const residentMegabytes = Math.round(process.memoryUsage.rss() / 1e6)
  app.log.info({ policy: policy.name, ...service.metadata().runtime, residentMegabytes }, 'ready')
  return endOfProcess
}

/** What the runtime says while it starts; kept until there is a log. */
class Notices {
  #early: string[] = []
  #log: ((text: string) => void) | undefined

  add(text: string): void {
    if (this.#log) this.#log(text)
    else this.#early.push(text)
  }

  passTo(log: (text: string) => void): void {
    this.#log = log
    for (const text of this.#early.splice(0)) log(text)
  }
}

async function listen(app: FastifyInstance, { host, port }: Config): Promise<void> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    const detail = `Cannot listen on ${host}, port ${port}: ${reasonOf(error)}. Choose others with --host and --port.`
    throw new TurboPiError('CONFIG_INVALID', detail, { cause: error })
  }
}
