import type { FastifyInstance } from 'fastify'
import { type Config, loadConfig, servedName, settingsHelp } from '../config.js'
import { reasonOf, TurboPiError } from '../errors.js'
import { requireRuntime } from '../runtime/backends.js'
import { createServer, type Policies } from '../server/standalone.js'
import { HeldRobots } from '../service/held-robots.js'
import { Metrics } from '../service/metrics.js'
import { Served } from '../service/served.js'
import { PolicyService } from '../service/service.js'
import { configuredService, type ServiceHooks, swapFor } from './kit/configured-service.js'
import { endOfProcess, endWith } from './serve-end.js'
import { endWithParent, tuneProcess } from './serve-process.js'

export const help = `turbo-pi serve [options]

Serves a policy over HTTP and WebSocket. Each option can also be given by its environment variable
(docs/reference/config.md).

${settingsHelp()}`

/** Listens at once, so that /healthz answers while the engine loads. */
export async function run(argv: string[]): Promise<number> {
  tuneProcess()
  endWithParent()
  const config = loadConfig(argv)
  await requireRuntime(config)
  const stopping = new AbortController()
  const notices = new Notices()
  const hooks: ServiceHooks = {
    signal: stopping.signal,
    onNotice: text => notices.add(text),
    warn: (message, error) => app.log.error({ err: error }, message),
  }
  const policies = await servedPolicies(config, hooks)
  const app = await createServer(policies, config, {
    logger: { level: config.logLevel },
    ...(config.allowSwap && {
      swap: (served, directory, options) => swapFor(config, hooks, served, directory, options),
    }),
  })
  notices.passTo(text => app.log.info(text))
  const stop = async () => {
    stopping.abort()
    const closed = await Promise.allSettled(policies.map(served => served.close()))
    await app.close()
    for (const end of closed) if (end.status === 'rejected') throw end.reason
  }
  const reloads = config.apiKeys !== undefined || config.tlsCert !== undefined
  const grace = endWith(stop, { drainMs: config.drainTimeout, log: app.log, keepOnHangup: reloads })
  if (reloads) process.on('SIGHUP', () => reload(app))
  try {
    await listen(app, config)
    await Promise.all(policies.map(({ current }) => current.service.start()))
  } catch (error) {
    if (stopping.signal.aborted) return endOfProcess
    grace.uninstall()
    await stop()
    throw error
  }
  const residentMegabytes = Math.round(process.memoryUsage.rss() / 1e6)
  for (const { name, current } of policies) {
    const { policy, runtime } = current.service.metadata()
    app.log.info({ ...(policies.length > 1 && { name }), policy, ...runtime, residentMegabytes }, 'ready')
  }
  return endOfProcess
}

/** One for each policy that the settings name; the engines load in the background. */
async function servedPolicies(config: Config, hooks: ServiceHooks): Promise<Policies> {
  const served: Served[] = []
  const held = new HeldRobots()
  const named = config.policy.length > 0 ? config.policy : [{ name: undefined, directory: undefined }]
  for (const { name, directory } of named) {
    const parts = await configuredService(config, hooks, directory)
    const metrics = new Metrics(named.length > 1 ? name : undefined)
    served.push(
      new Served(new PolicyService({ ...parts, metrics, held }), {
        name: name ?? servedName(parts.policy.name),
        maxImages: config.maxImages,
      }),
    )
  }
  return served as unknown as Policies
}

function reload(app: FastifyInstance): void {
  try {
    app.reloadAccess()
    app.log.info('keys and certificates were read again')
  } catch (error) {
    app.log.error({ err: error }, 'Keys and certificates stay as they were')
  }
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
