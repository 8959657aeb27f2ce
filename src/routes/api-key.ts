import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { TurboPiError } from '../errors.js'

/** Health, and the page's own files: the page asks for the key before it asks for anything else. */
const OPEN = new Set(['/healthz', '/readyz', '/page/*'])
const digest = (text: string) => createHash('sha256').update(text).digest()

/**
 * Asks for `Authorization: Api-Key …` (as openpi's client sends it) or `Bearer …`, before a body is read and before a
 * WebSocket is upgraded. A browser's WebSocket cannot send headers: it offers the key, in base64url, as the
 * subprotocol `turbo-pi.key.…` beside its real one.
 */
export function apiKeyRequired(app: FastifyInstance, key: string): void {
  const expected = digest(key)
  app.addHook('onRequest', async request => {
    const { url = '' } = request.routeOptions
    if (OPEN.has(url) || (url === '/' && !request.ws)) return
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
