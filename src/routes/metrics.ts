import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { PolicyService } from '../service/service.js'

/** GET /metrics: counters, queue and stage times in Prometheus' text format. */
export function metricsRoute(app: FastifyInstance, { metrics }: PolicyService): void {
  app.get(
    '/metrics',
    {
      schema: {
        summary: 'Counters, queue and stage times, for Prometheus',
        tags: ['health'],
        response: { 200: Type.String() },
      },
    },
    async (_request, reply) =>
      reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
  )
}
