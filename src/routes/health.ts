import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { problemOf } from '../contract/problem.js'
import { Problem } from '../contract/schemas.js'
import type { TurboPiError } from '../errors.js'

/** What tells whether it can answer: a served policy, or all of them. */
export interface Readiness {
  /** Why it cannot; undefined when it can. */
  readonly unready: TurboPiError | undefined
  /** What its start is at, while it lasts: a stage in words, and how much of it is done. */
  readonly starting?: { readonly stage: string; readonly percent?: number } | undefined
  /** Where several cards compute: how many of them work. */
  readonly engines?: { readonly working: number; readonly of: number } | undefined
}

/** Why it is not ready; while it starts, with the stage that it is at. */
const NotReady = Type.Object(
  {
    ...Problem.properties,
    stage: Type.Optional(
      Type.String({ description: 'what the start is at, in words: “lowering the weights”' }),
    ),
    percent: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100, description: 'how much of that stage is done' }),
    ),
  },
  { title: 'NotReady' },
)

/** GET /healthz: the process lives (openpi's body). */
export function healthRoute(app: FastifyInstance): void {
  app.get(
    '/healthz',
    {
      config: { open: true },
      schema: {
        operationId: 'health',
        summary: 'The process lives',
        description: 'Answers as soon as the server listens, whatever the engine does.',
        tags: ['health'],
        response: {
          200: { description: 'It lives.', content: { 'text/plain': { schema: Type.String() } } },
        },
      },
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
        operationId: 'readiness',
        summary: 'The engine is warm and the self-test has passed',
        description: 'For load balancers and orchestrators: from 200 on, observations are answered.',
        tags: ['health'],
        response: {
          200: Type.Object(
            {
              status: Type.Literal('ready'),
              cards: Type.Optional(
                Type.String({ description: 'of several cards, how many work: “1 of 2 cards”' }),
              ),
            },
            { title: 'Ready', description: 'Observations are answered.' },
          ),
          503: {
            description: 'Not yet, or no longer.',
            content: { 'application/problem+json': { schema: NotReady } },
          },
        },
      },
    },
    // No request was refused that somebody would look for: it is neither counted nor logged.
    (_request, reply) => {
      const { unready, starting, engines } = readiness()
      if (!unready)
        return reply.send({
          status: 'ready' as const,
          ...(engines && { cards: `${engines.working} of ${engines.of} cards` }),
        })
      return reply
        .code(503)
        .type('application/problem+json')
        .send({ ...problemOf(unready), ...starting })
    },
  )
}
