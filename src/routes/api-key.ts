import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { TurboPiError } from '../errors.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answered without a key: health, and the page's own files, since the page is what asks for the key. */
    open?: boolean
  }
}

const digest = (text: string) => createHash('sha256').update(text).digest()

/**
 * Asks for `Authorization: Api-Key …` (as openpi's client sends it) or `Bearer …`, before a body is read and before a
 * WebSocket is upgraded. A browser's WebSocket cannot send headers: it offers the key, in base64url, as the
 * subprotocol `turbo-pi.key.…` beside its real one.
 */
export function apiKeyRequired(app: FastifyInstance, key: string): void {
  const expected = digest(key)
  app.addHook('onRequest', async request => {
    const { config } = request.routeOptions
    if (config.open && !request.ws) return
    const given = keyOf(request)
    if (given === undefined || !timingSafeEqual(digest(given), expected))
      throw new TurboPiError(
        'UNAUTHORIZED',
        'Send the header Authorization: Api-Key <key> with the key of this server.',
      )
  })
}

function keyOf({ headers, ws }: FastifyRequest): string | undefined {
  const [, key] = /^(?:Api-Key|Bearer) +(.+)$/i.exec(headers.authorization ?? '') ?? []
  if (key !== undefined || !ws) return key
  const [, offered] = /(?:^|[, ])turbo-pi\.key\.([\w-]+)/.exec(headers['sec-websocket-protocol'] ?? '') ?? []
  return offered === undefined ? undefined : Buffer.from(offered, 'base64url').toString()
}
