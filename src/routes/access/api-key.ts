import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type BrowserSessions, unauthorized } from './browser-sessions.js'
import type { Key } from './key.js'
import type { KeyRing } from './key-ring.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answered without a key: health, and the page's own files, since the page is what asks for the key. */
    open?: boolean
  }
  interface FastifyRequest {
    /** The key of the caller, where the server asks for keys. */
    key: Key | undefined
  }
}

/**
 * Asks for `Authorization: Api-Key …` (as openpi's client sends it) or `Bearer …`, before a body is read and before a
 * WebSocket is upgraded; the page's cookie is as good. A browser's WebSocket cannot send headers: pages of other servers
 * offer the key, in base64url, as the subprotocol `turbo-pi.key.…` beside the real one.
 */
export function apiKeyRequired(app: FastifyInstance, keys: KeyRing, sessions: BrowserSessions): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const { config } = request.routeOptions
    if (config.open && !request.ws) return done()
    const given = keyOf(request)
    const key = given === undefined ? sessions.keyOf(request.headers.cookie) : keys.find(given)
    if (!key) return done(unauthorized())
    request.key = key
    try {
      // Over a WebSocket each observation counts.
      if (!request.ws) key.take()
      done()
    } catch (error) {
      done(error as Error)
    }
  })
}

/** The key in an Authorization header. */
export const authorizedKey = (header: string | undefined): string | undefined =>
  /^(?:Api-Key|Bearer) +(\S+)$/i.exec(header ?? '')?.[1]

function keyOf({ headers, ws }: FastifyRequest): string | undefined {
  const key = authorizedKey(headers.authorization)
  if (key !== undefined || !ws) return key
  const [, offered] = /(?:^|[, ])turbo-pi\.key\.([\w-]+)/.exec(headers['sec-websocket-protocol'] ?? '') ?? []
  return offered === undefined ? undefined : Buffer.from(offered, 'base64url').toString()
}
