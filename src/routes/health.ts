import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { Problem } from '../contract/schemas.js'
import { TurboPiError } from '../errors.js'
import type { PolicyService } from '../service/service.js'

/** GET /healthz: the process lives (openpi's body). GET /readyz: the engine is warm and the self-test has passed. */
export function healthRoutes(app: FastifyInstance, service: PolicyService): void {
  app.get(
    '/healthz',
    { schema: { summary: 'The process lives', tags: ['health'], response: { 200: Type.String() } } },
    (_request, reply) => reply.type('text/plain; charset=utf-8').send('OK\n'),
  )

  app.get(
    '/readyz',
    {
      schema: {
        summary: 'The engine is warm and the self-test has passed',
        tags: ['health'],
        response: {
          200: Type.Object({ status: Type.Literal('ready') }, { additionalProperties: false }),
          503: {
            description: 'Not yet, or no longer.',
            content: { 'application/problem+json': { schema: Problem } },
          },
        },
      },
    },
    async () => {
      if (!service.ready)
        throw new TurboPiError('NOT_READY', 'The engine is starting or stopping; ask again.')
      return { status: 'ready' as const }
    },
  )
}
