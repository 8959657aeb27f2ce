import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { Problem } from '../contract/schemas.js'
import type { TurboPiError } from '../errors.js'

/** What tells whether it can answer: a served policy, or all of them. */
export interface Readiness {
  /** Why it cannot; undefined when it can. */
  readonly unready: TurboPiError | undefined
}

/** GET /healthz: the process lives (openpi's body). */
export function healthRoute(app: FastifyInstance): void {
  app.get(
    '/healthz',
    {
      config: { open: true },
      schema: { summary: 'The process lives', tags: ['health'], response: { 200: Type.String() } },
    },
    (_request, reply) => reply.type('text/plain; charset=utf-8').send('OK\n'),
  )
}

/** GET /readyz: the engine is warm, the self-test has passed, and no call of the engine hangs. */
export function readyRoute(app: FastifyInstance, readiness: () => Readiness): void {
  app.get(
    '/readyz',
    {
      config: { open: true },
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
      const { unready } = readiness()
      if (unready) throw unready
      return { status: 'ready' as const }
    },
  )
}
