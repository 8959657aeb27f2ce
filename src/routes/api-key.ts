import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { TurboPiError } from '../errors.js'

const OPEN = new Set(['/healthz', '/readyz'])
const digest = (text: string) => createHash('sha256').update(text).digest()

/**
 * Asks for `Authorization: Api-Key …` (as openpi's client sends it) or `Bearer …` on every route but health,
 * before a body is read and before a WebSocket is upgraded.
 */
export function apiKeyRequired(app: FastifyInstance, key: string): void {
  const expected = digest(key)
  app.addHook('onRequest', async request => {
    if (OPEN.has(request.routeOptions.url ?? '')) return
    const [, given] = /^(?:Api-Key|Bearer) +(.+)$/i.exec(request.headers.authorization ?? '') ?? []
    if (given === undefined || !timingSafeEqual(digest(given), expected))
      throw new TurboPiError(
        'UNAUTHORIZED',
        'Send the header Authorization: Api-Key <key> with the key of this server.',
      )
  })
}
