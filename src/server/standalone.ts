import fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import { type Config, SETTINGS } from '../config.js'
import { apiKeyRequired } from '../routes/api-key.js'
import { healthRoute } from '../routes/health.js'
import { metricsRoute } from '../routes/metrics.js'
import { homePage, pageRoutes } from '../routes/page/page.js'
import { pathOf, policiesRoutes, type Swap } from '../routes/policies.js'
import { earlyProblems, errorReplies, hostRequired, notFoundReplies } from '../routes/problems.js'
import type { Served } from '../service/served.js'
import { documentation } from './documentation.js'
import { type Limits, sharedBy, turboPi } from './plugin.js'

export type ServerConfig = Pick<Config, 'apiKey' | 'bodyLimit'> &
  Partial<Pick<Config, 'watchSessions' | 'requestTimeout' | 'maxConnections' | keyof Limits>>

/** Milliseconds between looks for requests that take too long to come in. */
const CHECK_MS = 1000

/** The policies of a server: the first is served at `/`, too. */
export type Policies = readonly [Served, ...Served[]]

export interface ServerOptions {
  logger?: FastifyServerOptions['logger']
  /** Answers POST /policies/NAME/swap; without it there is no such route. */
  swap?: Swap
}

/**
 * The HTTP and WebSocket server of some policies, with keys, documents, page and metrics: registers plugins and routes,
 * nothing else. The caller listens and closes.
 */
export async function createServer(
  policies: Policies,
  config: ServerConfig,
  { logger = false, swap }: ServerOptions = {},
): Promise<FastifyInstance> {
  const {
    bodyLimit,
    requestTimeout = SETTINGS.requestTimeout.default,
    maxConnections = SETTINGS.maxConnections.default,
  } = config
  const app = fastify({
    bodyLimit,
    requestTimeout,
    http: { connectionsCheckingInterval: CHECK_MS, headersTimeout: requestTimeout, requireHostHeader: false },
    ...earlyProblems,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { ignoreTrailingSlash: true },
    logger,
    logController: new LogController({ disableRequestLogging: true }),
  })
  const { connections, memory } = await sharedBy(app, config)
  connections.bound(app, maxConnections)
  connections.endWith(app, memory)
  errorReplies(app)
  hostRequired(app)
  notFoundReplies(app)
  if (config.apiKey) apiKeyRequired(app, config.apiKey)
  await documentation(app, policies, () =>
    createServer(policies, { ...config, watchSessions: false }, { ...(swap && { swap }) }),
  )
  const several = policies.length > 1
  const readiness = {
    get ready() {
      return policies.every(({ current }) => current.service.ready)
    },
  }
  await app.register(turboPi, { policy: policies[0], home: homePage, readiness, bodyLimit, logged: several })
  for (const policy of policies)
    await app.register(turboPi, {
      policy,
      prefix: pathOf(policy),
      bodyLimit,
      logged: several,
      undocumented: policy === policies[0],
    })
  await app.register(async routes => {
    healthRoute(routes)
    policiesRoutes(routes, policies, { bodyLimit, memory }, swap)
    metricsRoute(routes, policies, app.turboPi!.sockets.robots)
    pageRoutes(routes, policies, config)
  })
  return app
}
