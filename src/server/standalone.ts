import cors from '@fastify/cors'
import fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import type { Registry } from 'prom-client'
import { type Config, isLoopback, SETTINGS } from '../config.js'
import { HEADER_LENGTH } from '../contract/open-inference/rest.js'
import { apiKeyRequired } from '../routes/access/api-key.js'
import { BrowserSessions, sessionRoute } from '../routes/access/browser-sessions.js'
import { type HostRules, knownCallers } from '../routes/access/hosts.js'
import { KeyRing } from '../routes/access/key-ring.js'
import { securityHeaders } from '../routes/access/security-headers.js'
import { boundPieces } from '../routes/body-pieces.js'
import { healthRoute } from '../routes/health.js'
import { metricsRoute } from '../routes/metrics.js'
import { Models } from '../routes/open-inference/models.js'
import { openInferenceRoutes } from '../routes/open-inference/rest.js'
import { homePage, pageRoutes } from '../routes/page/page.js'
import { pathOf, policiesRoutes, type Swap } from '../routes/policies.js'
import { earlyProblems, errorReplies, hostRequired, notFoundReplies } from '../routes/problems.js'
import type { Recordings } from '../routes/recordings.js'
import { echoNames, nameLogLines, requestId } from '../routes/request-names.js'
import { onlyOnSockets } from '../routes/sockets/only-on-sockets.js'
import type { Served } from '../service/served.js'
import { documentation } from './documentation.js'
import type { GrpcServer } from './grpc.js'
import { type Limits, sharedBy, turboPi } from './plugin.js'
import { reloadTls, type TlsFiles, tlsOptions } from './tls.js'

type Access = Pick<Config, 'apiKeys' | 'host' | 'allowedHosts' | 'corsOrigin' | 'basePath' | 'trustProxy'>

export type ServerConfig = Pick<Config, 'apiKey' | 'bodyLimit'> &
  TlsFiles &
  Partial<
    Access & Pick<Config, 'watchSessions' | 'requestTimeout' | 'maxConnections' | 'grpcPort' | keyof Limits>
  >

/** Milliseconds between looks for requests that take too long to come in. */
const CHECK_MS = 1000

/** The policies of a server: the first is served at `/`, too. */
export type Policies = readonly [Served, ...Served[]]

export interface ServerOptions {
  logger?: FastifyServerOptions['logger']
  /** Answers POST /policies/NAME/swap; without it there is no such route. */
  swap?: Swap
  /** The recorders of policies that have one. */
  recorders?: ReadonlyMap<Served, Recordings>
  /** What the cards are at, where some compute: numbers for GET /metrics. */
  cards?: { registry: Registry } | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Listens for gRPC, where there is a port for it, and gives the port. Throws LISTEN_FAILED. */
    listenGrpc(): Promise<number | undefined>
    /** Reads the files of keys and certificates again. Throws CONFIG_INVALID; what was not valid stays as it was. */
    reloadAccess(): void
  }
}

/**
 * The HTTP and WebSocket server of some policies, with keys, documents, page and metrics: registers plugins and routes,
 * nothing else. The caller listens and closes. Throws CONFIG_INVALID for keys and certificates that cannot be used.
 */
export async function createServer(
  policies: Policies,
  config: ServerConfig,
  { logger = false, swap, recorders, cards }: ServerOptions = {},
): Promise<FastifyInstance> {
  const {
    bodyLimit,
    basePath = '',
    requestTimeout = SETTINGS.requestTimeout.default,
    maxConnections = SETTINGS.maxConnections.default,
    grpcPort = SETTINGS.grpcPort.default,
  } = config
  const https = tlsOptions(config)
  const keyed = config.apiKey !== undefined || config.apiKeys !== undefined
  const keys = new KeyRing(config)
  const sessions = new BrowserSessions(keys)
  const pages = hostRules(config)
  const incoming = {
    connectionsCheckingInterval: CHECK_MS,
    headersTimeout: requestTimeout,
    requireHostHeader: false,
  }
  const app = fastify({
    bodyLimit,
    requestTimeout,
    ...earlyProblems,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { ignoreTrailingSlash: true },
    logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestId,
    requestIdHeader: false,
    trustProxy: config.trustProxy?.length ? [...config.trustProxy] : false,
    ...(basePath && { rewriteUrl: ({ url = '/' }) => withoutBase(url, basePath) }),
    // An HTTPS server has another type to Fastify, and nothing here needs to know.
    ...(https ? { https: { ...https, ...incoming } } : { http: incoming }),
  } as FastifyServerOptions) as unknown as FastifyInstance
  let grpc: GrpcServer | undefined
  app.decorate('reloadAccess', () => {
    keys.reload()
    reloadTls(app.server, config)
    grpc?.reload()
  })
  const { sockets, turns, refusals, connections, memory } = await sharedBy(app, config)
  connections.bound(maxConnections)
  connections.endWith(app, memory)
  boundPieces(app)
  errorReplies(app, refusals)
  hostRequired(app)
  notFoundReplies(app, refusals)
  nameLogLines(app)
  echoNames(app)
  securityHeaders(app)
  knownCallers(app, pages)
  onlyOnSockets(app)
  if (pages.origins.size > 0) await app.register(cors, corsOptions(pages))
  if (keyed) apiKeyRequired(app, keys, sessions)
  await documentation(app, policies, { basePath, keyed }, () =>
    createServer(
      policies,
      { ...config, watchSessions: false, grpcPort: SETTINGS.grpcPort.default },
      { ...(swap && { swap }), ...(recorders && { recorders }) },
    ),
  )
  const several = policies.length > 1
  const readiness = {
    get unready() {
      return policies.map(({ current }) => current.service.unready).find(Boolean)
    },
    /** Of the policy that has fewest. */
    get engines() {
      return policies
        .flatMap(({ current }) => current.service.engines ?? [])
        .sort((a, b) => a.working - b.working)[0]
    },
    get starting() {
      return policies.map(({ current }) => current.service).find(({ unready }) => unready)?.starting
    },
  }
  const shared = { bodyLimit, logged: several, pages }
  const recordings = recorders?.get(policies[0])
  await app.register(turboPi, { ...shared, policy: policies[0], recordings, home: homePage, readiness })
  for (const policy of policies)
    await app.register(turboPi, {
      ...shared,
      policy,
      recordings: recorders?.get(policy),
      prefix: pathOf(policy),
      undocumented: policy === policies[0],
    })
  const models = new Models(policies)
  await app.register(
    async routes =>
      openInferenceRoutes(routes, models, {
        robots: sockets.robots,
        turns,
        refusals,
        connections,
        memory,
        bodyLimit,
      }),
    { prefix: '/v2' },
  )
  if (grpcPort >= 0) {
    const { GrpcServer } = await import('./grpc.js')
    grpc = new GrpcServer(models, {
      keys: keyed ? keys : undefined,
      robots: sockets.robots,
      tls: config,
      log: app.log,
      ...{ turns, refusals, memory, bodyLimit, requestTimeout, maxConnections },
      heartbeat: config.heartbeat ?? SETTINGS.heartbeat.default,
    })
    app.addHook('preClose', () => grpc!.close())
  }
  app.decorate('listenGrpc', async () => grpc?.listen(config.host ?? '127.0.0.1', grpcPort))
  if (keyed) await app.register(async routes => sessionRoute(routes, keys, sessions, basePath))
  await app.register(async routes => {
    healthRoute(routes)
    policiesRoutes(routes, policies, { bodyLimit, memory }, { swap, basePath })
    metricsRoute(routes, policies, [
      sockets.robots,
      refusals,
      ...(recorders?.values() ?? []),
      ...(cards ? [cards] : []),
    ])
    pageRoutes(routes, policies, sockets.robots, config)
  })
  return app
}

function hostRules({ host = '127.0.0.1', allowedHosts = [], corsOrigin = [] }: Partial<Access>): HostRules {
  return { hosts: new Set(allowedHosts), loopback: isLoopback(host), origins: new Set(corsOrigin) }
}

const corsOptions = ({ origins }: HostRules) => ({
  origin: [...origins],
  exposedHeaders: ['x-request-id', 'retry-after', HEADER_LENGTH],
  allowedHeaders: ['authorization', 'content-type', 'x-robot', 'x-request-id', 'traceparent', HEADER_LENGTH],
})

/** The address of a route, whether the proxy leaves the base path in it or not. */
function withoutBase(url: string, basePath: string): string {
  if (!url.startsWith(basePath)) return url
  const rest = url.slice(basePath.length)
  if (rest.startsWith('/')) return rest
  return rest === '' || rest.startsWith('?') ? `/${rest}` : url
}
