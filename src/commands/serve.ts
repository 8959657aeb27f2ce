import type { FastifyInstance } from 'fastify'
import { type Config, checkedConfig, SETTINGS, servedName } from '../config.js'
import { reasonOf, TurboPiError } from '../errors.js'
import { requireRuntime } from '../runtime/backends.js'
import { createServer, type Policies } from '../server/standalone.js'
import { HeldRobots } from '../service/held-robots.js'
import { Metrics } from '../service/metrics.js'
import { Served } from '../service/served.js'
import { PolicyService } from '../service/service.js'
import { type Call, command as define } from './kit/command.js'
import { configuredCards } from './kit/configured-cards.js'
import { configuredRecorders } from './kit/configured-recorders.js'
import { configuredService, type ServiceHooks, swapFor } from './kit/configured-service.js'
import { configuredTraces } from './kit/configured-traces.js'
import { endOfProcess, endWith } from './serve-end.js'
import { endWithParent, tuneProcess } from './serve-process.js'
import { counted, pageAddress, Reports } from './serve-reports.js'

export const command = define(
  {
    name: 'serve',
    forms: ['[--policy DIR] [options]'],
    about: `
Serves a policy over HTTP and WebSocket: the bundled one, which acts on a simulated tabletop, when none is named. It listens at
once; /readyz turns 200 when the engine is warm, and tells until then what the start is at.`,
    options: {},
    settings: SETTINGS,
  },
  serve,
)

/** Milliseconds that the last spans have to leave. */
const LAST_TRACES_MS = 2000

/** Listens at once, so that /healthz answers while the engine loads. */
async function serve({ config: given }: Call): Promise<number> {
  const config = checkedConfig(given)
  tuneProcess()
  endWithParent()
  const backend = await requireRuntime(config)
  const stopping = new AbortController()
  const reports = new Reports(config)
  const hooks: ServiceHooks = {
    signal: stopping.signal,
    onNotice: text => reports.say(log => log.info(text)),
    onStage: reports.stagesOf(),
    warn: (message, error) => reports.say(log => log.error({ err: error }, message)),
  }
  const policies = await servedPolicies(config, hooks, reports)
  const recorders = configuredRecorders(config, policies, () => app.log)
  const traces = await configuredTraces(config, policies, message => reports.say(log => log.warn(message)))
  const cards = configuredCards(backend, policies, {
    notice: line => reports.say(log => log.info(line)),
    warn: line => reports.say(log => log.warn(line)),
  })
  const app = await createServer(policies, config, {
    logger: reports.logger,
    recorders,
    cards: cards?.metrics,
    ...(config.allowSwap && {
      swap: (served, directory, options) =>
        swapFor(config, hooks, served, directory, options).finally(() => reports.endStages()),
    }),
  })
  reports.begin(app.log)
  const stop = async () => {
    stopping.abort()
    reports.endStages()
    cards?.stop()
    const closed = await Promise.allSettled(policies.map(served => served.close()))
    for (const recorder of recorders.values()) await recorder.close()
    await traces?.close(LAST_TRACES_MS)
    await app.close()
    for (const end of closed) if (end.status === 'rejected') throw end.reason
  }
  const reloads = config.apiKeys !== undefined || config.tlsCert !== undefined
  const grace = endWith(stop, {
    drainMs: config.drainTimeout,
    log: app.log,
    keepOnHangup: reloads,
    counted: () => counted(policies.map(({ metrics }) => metrics)),
  })
  if (reloads) process.on('SIGHUP', () => reload(app))
  try {
    await listen(app, config)
    const grpcPort = await app.listenGrpc()
    if (grpcPort !== undefined)
      app.log.info({ grpcPort }, `Server listening for gRPC at ${config.host}:${grpcPort}`)
    await Promise.all(policies.map(({ current }) => current.service.start()))
    cards?.begin()
    if (!config.recordOnRequest) for (const recorder of recorders.values()) recorder.start()
  } catch (error) {
    if (stopping.signal.aborted) return endOfProcess
    grace.uninstall()
    await stop()
    throw error
  }
  reports.endStages()
  const residentMegabytes = Math.round(process.memoryUsage.rss() / 1e6)
  const url = pageAddress(app, config.basePath)
  for (const { name, current } of policies) {
    const { policy, runtime } = current.service.metadata()
    app.log.info(
      { ...(policies.length > 1 && { name }), policy, ...runtime, residentMegabytes, url },
      'ready',
    )
  }
  reports.invite(url)
  return endOfProcess
}

/** One for each policy that the settings name; the engines load in the background. */
async function servedPolicies(config: Config, hooks: ServiceHooks, reports: Reports): Promise<Policies> {
  const served: Served[] = []
  const held = new HeldRobots()
  const named = config.policy.length > 0 ? config.policy : [{ name: undefined, directory: undefined }]
  for (const { name, directory } of named) {
    const onStage = named.length > 1 ? reports.stagesOf(name) : hooks.onStage
    const parts = await configuredService(config, { ...hooks, onStage }, directory)
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

async function listen(app: FastifyInstance, { host, port }: Config): Promise<void> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    const detail = `Cannot listen on ${host}, port ${port}: ${reasonOf(error)}. Choose others with --host and --port.`
    throw new TurboPiError('LISTEN_FAILED', detail, { cause: error })
  }
}
