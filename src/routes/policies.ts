import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { shown, shownNames } from '../contract/limits.js'
import { compileCheck } from '../contract/validate.js'
import { TurboPiError } from '../errors.js'
import type { Served } from '../service/served.js'
import { type BodyLimits, bodyOf, bodyParsers, type WireBody } from './body.js'
import { problemReply } from './problems.js'

const ServedPolicy = Type.Object(
  {
    name: Type.String(),
    path: Type.String({ description: 'before the policy’s routes, for example /policies/tabletop/infer' }),
    policy: Type.String(),
    model: Type.Union([Type.String(), Type.Null()], { description: 'identity; null while it is loading' }),
    ready: Type.Boolean(),
  },
  { title: 'ServedPolicy' },
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
  { additionalProperties: false, title: 'SwapRequest' },
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
        operationId: 'policies',
        summary: 'What is served, the first one also at /',
        description: 'Each policy has its routes below its path.',
        tags: ['policies'],
        response: {
          200: Type.Array(ServedPolicy, { description: 'The policies, in the order of the command line.' }),
        },
      },
    },
    async () => policies.map(served => describe(served, basePath)),
  )
  if (!swap) return
  bodyParsers(app, limits)
  app.post<{ Params: { policy: string } }>(
    '/policies/:policy/swap',
    {
      schema: {
        operationId: 'swapPolicy',
        summary: 'Serve another policy in the place of this one, without losing a request',
        description:
          'Answers once the next policy has passed its self-test and the old one has finished its work.',
        tags: ['policies'],
        params: Type.Object({
          policy: Type.String({
            description: 'name under which it is served',
            examples: [policies[0]!.name],
          }),
        }),
        body: { ...SwapBody, examples: [{ directory: 'policies/tabletop' }] },
        response: {
          200: { ...ServedPolicy, description: 'The policy that serves from now on.' },
          '4xx': problemReply('Refused; the policy being served goes on.'),
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
      const served = policies.find(({ name }) => name === request.params.policy)
      if (!served)
        throw new TurboPiError(
          'NOT_FOUND',
          `No policy is served as ${shown(request.params.policy)}; there ${policies.length === 1 ? 'is' : 'are'} ${shownNames(policies.map(({ name }) => name))}.`,
        )
      const { value } = bodyOf<WireBody>(request)
      checkSwapBody(value)
      const { directory, any_shape: anyShape = false } = value as { directory: string; any_shape?: boolean }
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
