import type { FastifyInstance, FastifyPluginAsync, FastifySchema, RouteHandlerMethod } from 'fastify'
import fp from 'fastify-plugin'
import { SETTINGS } from '../config.js'
import { type HostRules, knownPages, OWN_PAGES } from '../routes/access/hosts.js'
import { Connections } from '../routes/connections.js'
import { Turns } from '../routes/event-loop-turns.js'
import { type Readiness, readyRoute } from '../routes/health.js'
import { heldRoutes } from '../routes/held.js'
import { inferRoute } from '../routes/infer.js'
import { metadataRoute } from '../routes/metadata.js'
import { errorReplies } from '../routes/problems.js'
import { type Recordings, recordingsRoutes } from '../routes/recordings.js'
import { Refusals } from '../routes/refusals.js'
import { RequestMemory } from '../routes/request-memory.js'
import { nameLogLines } from '../routes/request-names.js'
import { robotNames } from '../routes/robots.js'
import type { Sockets } from '../routes/sockets/connection.js'
import { onlyOnSockets } from '../routes/sockets/only-on-sockets.js'
import { openpiRoute } from '../routes/sockets/openpi.js'
import { webSockets } from '../routes/sockets/plugin.js'
import { streamRoute } from '../routes/sockets/stream.js'
import { upgradeRequired } from '../routes/sockets/upgrade.js'
import { Served } from '../service/served.js'
import type { PolicyService } from '../service/service.js'

/** What clients may ask of a server. */
export interface Limits {
  /** Bytes that a request or a frame may have; default 32 MiB. */
  bodyLimit: number
  /** Bytes that all requests may take while they come and are answered, and all fields carried over; default 128 MiB each. */
  requestMemory: number
  /** Milliseconds between pings of a WebSocket, default 20 s; one that does not answer is dropped. */
  heartbeat: number
  /** Bytes that a WebSocket client may leave unread before it is dropped, default 1 MiB. */
  sendBuffer: number
  /** Milliseconds that captured_at may lie in the future, default 1000. */
  clockTolerance: number
  /** Robots that may name themselves, default 256. */
  maxRobots: number
  /** WebSocket connections that one named robot may have, default 8. */
  robotConnections: number
}

export interface TurboPiOptions extends Partial<Limits> {
  /** What answers. Whoever made it starts it and closes it, after the app. */
  policy: Served | PolicyService
  /** Path before every route, for example `/robot`. */
  prefix?: string
  /** Answers `GET /` without an upgrade, the address of openpi's WebSocket; default 426. */
  home?: RouteHandlerMethod
  /** What GET /readyz tells of; default: the policy. */
  readiness?: Readiness
  /** Records what the policy is asked and answers. Without it there are no routes of recordings. */
  recordings?: Recordings | undefined
  /** Names the policy in the log. */
  logged?: boolean
  /** Pages that may open WebSockets, besides the app's own. */
  pages?: HostRules
  /** Leaves the routes out of the OpenAPI document. */
  undocumented?: boolean
}

const DEFAULTS: Limits = {
  bodyLimit: SETTINGS.bodyLimit.default,
  requestMemory: SETTINGS.requestMemory.default,
  heartbeat: SETTINGS.heartbeat.default,
  sendBuffer: SETTINGS.sendBuffer.default,
  clockTolerance: SETTINGS.clockTolerance.default,
  maxRobots: SETTINGS.maxRobots.default,
  robotConnections: SETTINGS.robotConnections.default,
}

/** One for all policies of an app, whatever wire their observations come over. */
interface Shared {
  sockets: Sockets
  turns: Turns
  connections: Connections
  /** Of requests and frames. */
  memory: RequestMemory
  refusals: Refusals
}

declare module 'fastify' {
  interface FastifyInstance {
    turboPi?: Shared
  }
}

async function plugin(app: FastifyInstance, options: TurboPiOptions): Promise<void> {
  const { policy, prefix = '', bodyLimit = DEFAULTS.bodyLimit, home = upgradeRequired, readiness } = options
  const { sockets, turns, refusals, connections, memory } = await sharedBy(app, options)
  const served = policy instanceof Served ? policy : new Served(policy)
  await app.register(
    async routes => {
      errorReplies(routes, refusals, () => served.metrics)
      onlyOnSockets(routes)
      knownPages(routes, options.pages ?? OWN_PAGES)
      robotNames(routes, sockets.robots, () => served.name)
      nameLogLines(routes, options.logged ? { policy: served.name } : {})
      routes.addHook('onRoute', route => {
        route.schema = documented(route.schema, options)
      })
      metadataRoute(routes, served)
      readyRoute(routes, () => readiness ?? served.current.service)
      heldRoutes(routes, served, sockets.robots)
      if (options.recordings) recordingsRoutes(routes, options.recordings, sockets.robots)
      inferRoute(routes, served, { turns, connections, memory, bodyLimit })
      streamRoute(routes, served, { sockets, turns, refusals })
      openpiRoute(routes, served, { sockets, turns, refusals, home })
    },
    { prefix },
  )
}

/** Operations of several policies in one document have names of their own: `infer`, `infer.policies.arm`. */
function documented(
  schema: FastifySchema = {},
  { undocumented, prefix = '' }: TurboPiOptions,
): FastifySchema {
  const { operationId } = schema
  return {
    ...schema,
    ...(undocumented && { hide: true }),
    ...(operationId && { operationId: [operationId, ...prefix.split('/').filter(Boolean)].join('.') }),
  }
}

/**
 * Makes the app take WebSockets, unless it does. They hang on its HTTP server, so that the limits of the first call hold
 * for all; hooks that are to see upgrades come after it.
 */
export async function sharedBy(app: FastifyInstance, options: Partial<Limits>): Promise<Shared> {
  if (!app.turboPi) {
    const asked = { ...DEFAULTS, ...options }
    const limits = {
      maxFrameBytes: asked.bodyLimit,
      heartbeatMs: asked.heartbeat,
      sendBufferBytes: asked.sendBuffer,
      clockToleranceMs: asked.clockTolerance,
      maxRobots: asked.maxRobots,
      maxConnections: asked.robotConnections,
    }
    const memory = new RequestMemory(asked.requestMemory)
    const carried = new RequestMemory(asked.requestMemory)
    // Before the sockets' own hooks, which see upgrades.
    const connections = new Connections(app.server)
    connections.hear(app)
    const sockets = await webSockets(app, limits, { connections, memory, carried })
    app.decorateRequest('reachedService', false)
    app.decorateRequest('key', undefined)
    app.decorate('turboPi', { sockets, turns: new Turns(), refusals: new Refusals(), connections, memory })
  }
  return app.turboPi!
}

/**
 * The routes of one policy for any Fastify app, each time it is registered under another `prefix`: `POST /infer`,
 * `WS /stream`, openpi's `WS /`, `/metadata`, `/readyz`, `/asyncapi.json`. Register it before routes that take
 * WebSockets of your own. Errors and body parsers stay within these routes.
 */
export const turboPi: FastifyPluginAsync<TurboPiOptions> = fp(plugin, { name: 'turbo-pi', fastify: '5.x' })
