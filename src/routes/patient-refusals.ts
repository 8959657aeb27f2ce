import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Connections } from './connections.js'

/** Milliseconds that a refusal waits while somebody is being served. */
const PATIENCE_MS = 250

/**
 * What is refused leaves later while others are being answered: who sends the same bad observation over and over waits for
 * its own refusals, and does not take the processor from a robot. The memory of what was refused goes at once.
 */
export function patientRefusals(app: FastifyInstance, connections: Connections): void {
  app.addHook('onSend', (request, reply, _payload, done) => {
    if (!isRefusal(reply) || !connections.busy) return done()
    ;(request.body as { share?: { end(): void } } | undefined)?.share?.end()
    request.body = undefined
    setTimeout(done, PATIENCE_MS)
  })
}

const isRefusal = ({ statusCode }: FastifyReply) => statusCode >= 400 && statusCode < 500
