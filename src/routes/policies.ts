import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { Problem } from '../contract/schemas.js'
import { compileCheck } from '../contract/validate.js'
import { TurboPiError } from '../errors.js'
import type { Served } from '../service/served.js'
import { type BodyLimits, bodyParsers, type WireBody } from './body.js'

const closed = { additionalProperties: false } as const

const ServedPolicy = Type.Object(
  {
    name: Type.String(),
    path: Type.String({ description: 'before the policy’s routes, for example /policies/tabletop/infer' }),
    policy: Type.String(),
    model: Type.Union([Type.String(), Type.Null()], { description: 'identity; null while it is loading' }),
    ready: Type.Boolean(),
  },
  closed,
)

const SwapBody = Type.Object(
  {
    directory: Type.String({ minLength: 1, description: 'policy directory, on the machine of the server' }),
    any_shape: Type.Optional(
      Type.Boolean({
        description: 'takes a policy of other observations or actions, too: robots must know of it',
      }),
    ),
  },
  closed,
)
const checkSwapBody = compileCheck(SwapBody, 'BODY_MALFORMED')

/** Loads the policy of a directory and puts it in the place of the one that serves. */
export type Swap = (served: Served, directory: string, options: { anyShape: boolean }) => Promise<void>

/** Path of a policy that is served under its name. */
export const pathOf = (served: Served) => `/policies/${served.name}`

const describe = (served: Served, basePath: string) => {
  const { service } = served.current
  const { policy, model } = service.metadata()
  return {
    name: served.name,
    path: `${basePath}${pathOf(served)}/`,
    policy,
    model,
    ready: service.ready,
  }
}

/** What keeps the next policy from starting is the caller's to mend; the one that serves goes on. */
function refusal(error: unknown): unknown {
  if (!(error instanceof TurboPiError) || error.status !== 500) return error
  return new TurboPiError('SWAP_REFUSED', `${error.title} (${error.code}). ${error.message}`, {
    cause: error,
  })
}

/** GET /policies: what is served. POST /policies/NAME/swap, where `swap` is given: serves another one in its place. */
export function policiesRoutes(
  app: FastifyInstance,
  policies: readonly Served[],
  limits: BodyLimits,
  { swap, basePath = '' }: { swap?: Swap | undefined; basePath?: string | undefined },
): void {
  app.get(
    '/policies',
    {
      schema: {
        summary: 'What is served, the first one also at /',
        tags: ['policies'],
        response: { 200: Type.Array(ServedPolicy) },
      },
    },
    async () => policies.map(served => describe(served, basePath)),
  )
  if (!swap) return
  bodyParsers(app, limits)
  for (const served of policies)
    app.post(
      `${pathOf(served)}/swap`,
      {
        schema: {
          summary: 'Serve another policy in the place of this one, without losing a request',
          tags: ['policies'],
          body: SwapBody,
          response: {
            200: ServedPolicy,
            '4xx': {
              description: 'Refused; the policy being served goes on.',
              content: { 'application/problem+json': { schema: Problem } },
            },
          },
        },
        validatorCompiler: () => () => true,
      },
      async request => {
        if (request.key && !request.key.maySwap)
          throw new TurboPiError(
            'FORBIDDEN',
            `The key ${request.key.name} may not exchange policies: give it "swap": true in the file of keys.`,
          )
        const { value } = request.body as WireBody
        checkSwapBody(value)
        const { directory, any_shape: anyShape = false } = value as {
          directory: string
          any_shape?: boolean
        }
        try {
          await swap(served, directory, { anyShape })
        } catch (error) {
          throw refusal(error)
        }
        const described = describe(served, basePath)
        request.log.info(described, 'swapped')
        return described
      },
    )
}
