import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import type { Config } from '../config.js'
import { RequestParser } from '../contract/parse.js'
import { apiKeyRequired } from '../routes/api-key.js'
import { Turns } from '../routes/event-loop-turns.js'
import { healthRoutes } from '../routes/health.js'
import { inferRoute } from '../routes/infer.js'
import { metadataRoute } from '../routes/metadata.js'
import { metricsRoute } from '../routes/metrics.js'
import { pageRoutes } from '../routes/page/page.js'
import { problemReplies } from '../routes/problems.js'
import { openpiRoute } from '../routes/sockets/openpi.js'
import { webSockets } from '../routes/sockets/plugin.js'
import { sameOriginSockets } from '../routes/sockets/same-origin.js'
import { streamRoute } from '../routes/sockets/stream.js'
import { dropUnusedConnections } from '../routes/sockets/unused-connections.js'
import type { PolicyService } from '../service/service.js'

export type ServerConfig = Pick<Config, 'apiKey' | 'bodyLimit' | 'maxImages' | 'heartbeat' | 'sendBuffer'> &
  Partial<Pick<Config, 'watchSessions'>>

/**
 * The HTTP and WebSocket server of one service: registers plugins and routes, nothing else.
 * The caller listens and closes.
 */
export async function createServer(
  service: PolicyService,
  config: ServerConfig,
  logger: FastifyServerOptions['logger'] = false,
): Promise<FastifyInstance> {
  const app = fastify({
    bodyLimit: config.bodyLimit,
    forceCloseConnections: 'idle',
    routerOptions: { ignoreTrailingSlash: true },
    logger,
    logController: new LogController({ disableRequestLogging: true }),
  })
  const { observation: spec, shape } = service.metadata()
  const parser = new RequestParser(spec, shape, config)

  const sockets = await webSockets(app, service.metrics, {
    maxFrameBytes: config.bodyLimit,
    heartbeatMs: config.heartbeat,
    sendBufferBytes: config.sendBuffer,
  })
  dropUnusedConnections(app)
  problemReplies(app)
  sameOriginSockets(app)
  if (config.apiKey) apiKeyRequired(app, config.apiKey)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Turbo-Pi',
        version: '1',
        description:
          'Action chunks from Pi0.5-class policies. The observation is that of the policy being served.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: {
        securitySchemes: {
          apiKey: {
            type: 'apiKey',
            in: 'header',
            name: 'authorization',
            description: '`Api-Key …` or `Bearer …`',
          },
        },
      },
    },
    convertConstToEnum: false,
  })
  await app.register(swaggerUi, { routePrefix: '/docs' })
  // One for all observations, whatever wire they come over.
  const turns = new Turns()
  await app.register(async routes => {
    healthRoutes(routes, service)
    metadataRoute(routes, service)
    inferRoute(routes, service, parser, turns)
    metricsRoute(routes, service)
    streamRoute(routes, service, parser, sockets, turns)
    openpiRoute(routes, service, parser, sockets, turns)
    pageRoutes(routes, service, config)
  })
  return app
}
