import type { FastifyInstance } from 'fastify'

/**
 * What every reply to a GET tells a browser: what it is no other page may frame, nothing is to be guessed of its type, and it
 * loads nothing. Pages that do load something say so themselves.
 */
export function securityHeaders(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    if (request.method === 'GET')
      reply.headers({
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
      })
    done()
  })
}
