import { randomBytes } from 'node:crypto'
import { parse, serialize } from 'cookie'
import type { FastifyInstance } from 'fastify'
import { LRUCache } from 'lru-cache'
import { Type } from 'typebox'
import { compileCheck } from '../../contract/validate.js'
import { TurboPiError } from '../../errors.js'
import { digestOf, type Key } from './key.js'
import type { KeyRing } from './key-ring.js'

/** Name of the cookie that stands for a key. */
export const COOKIE = 'turbo-pi-session'
const SECONDS = 12 * 3600
/** Browsers that are remembered at a time. */
const MAX_SESSIONS = 1000

const Login = Type.Object(
  { key: Type.String({ maxLength: 1024, description: 'a key of this server' }) },
  { additionalProperties: false, title: 'Login' },
)
const checkLogin = compileCheck(Login, 'BODY_MALFORMED')

/**
 * Browsers that have given a key to the page. They hold a random cookie in its place, which scripts cannot read and pages of
 * other sites cannot send, and which is worth nothing once the key is not valid any more or the server has been started anew.
 */
export class BrowserSessions {
  readonly #keys: KeyRing
  readonly #sessions = new LRUCache<string, Key>({ max: MAX_SESSIONS, ttl: SECONDS * 1000 })

  constructor(keys: KeyRing) {
    this.#keys = keys
  }

  /** The key that a cookie header stands for. */
  keyOf(header: string | undefined): Key | undefined {
    const token = header === undefined ? undefined : parse(header)[COOKIE]
    const key = token === undefined ? undefined : this.#sessions.get(nameOf(token))
    return key && this.#keys.has(key) ? key : undefined
  }

  /** A new cookie for a key. */
  begin(key: Key): string {
    const token = randomBytes(32).toString('base64url')
    this.#sessions.set(nameOf(token), key)
    return token
  }
}

/** What is kept of a token: finding one takes no longer the more of it was guessed. */
const nameOf = (token: string) => digestOf(token).toString('base64')

export const unauthorized = () =>
  new TurboPiError(
    'UNAUTHORIZED',
    'Send the header Authorization: Api-Key <key> with a key of this server; in a browser, open its page and give the key there.',
  )

/** POST /page/session: the page's key form. Answers with the cookie. */
export function sessionRoute(
  app: FastifyInstance,
  keys: KeyRing,
  sessions: BrowserSessions,
  basePath: string,
): void {
  app.post(
    '/page/session',
    {
      config: { open: true },
      schema: {
        operationId: 'openSession',
        summary: 'Give the key once, and get a cookie in its place',
        description:
          'As the page does: links and pages of this server then work in the browser without the header.',
        tags: ['access'],
        body: Login,
        response: {
          204: {
            description: 'The cookie is set, for 12 hours.',
            type: 'null',
            headers: { 'set-cookie': Type.String({ description: `${COOKIE}=…` }) },
          },
        },
      },
      validatorCompiler: () => () => true,
      bodyLimit: 4096,
    },
    async (request, reply) => {
      checkLogin(request.body)
      const key = keys.find((request.body as { key: string }).key)
      if (!key) throw unauthorized()
      const cookie = serialize(COOKIE, sessions.begin(key), {
        httpOnly: true,
        sameSite: 'strict',
        secure: request.protocol === 'https',
        path: basePath || '/',
        maxAge: SECONDS,
      })
      return reply.header('set-cookie', cookie).code(204).send()
    },
  )
}
