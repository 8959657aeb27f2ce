import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { TurboPiError } from '../errors.js'

/** A body in more pieces than this whose pieces have fewer bytes than that costs more to read than it is worth. */
const MANY_PIECES = 4096
const TINY_PIECE = 64

const watched = new WeakSet<IncomingMessage>()

/**
 * Bounds the pieces that bodies come in, whether anybody reads them or not: a chunk of one byte costs a microsecond, and
 * the event loop takes a third of a million of them at a time. What reads a body has to resume the request.
 */
export function boundPieces(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    const { headers, raw } = request
    const comes = headers['transfer-encoding'] !== undefined || headers['content-length'] !== undefined
    if (comes && !watched.has(raw)) watch(request, reply)
    done()
  })
  // What is left of a body after its answer is counted, too, which Node.js would drop by itself.
  app.addHook('onSend', ({ raw }, _reply, _payload, done) => {
    if (watched.has(raw)) raw.resume()
    done()
  })
}

function watch({ raw }: FastifyRequest, reply: FastifyReply): void {
  let pieces = 0
  let bytes = 0
  const onPiece = (piece: Buffer) => {
    pieces += 1
    bytes += piece.length
    if (pieces <= MANY_PIECES || bytes >= pieces * TINY_PIECE) return
    watched.delete(raw)
    // Or all that has come by now is read before anything else is done.
    raw.off('data', onPiece).pause()
    raw.socket.pause()
    if (reply.sent || raw.listenerCount('error') === 0) raw.socket.destroy()
    else {
      reply.header('connection', 'close')
      raw.emit('error', tooManyPieces(bytes / pieces))
    }
  }
  watched.add(raw)
  // Counts what others read: it is for them to begin.
  raw.pause().on('data', onPiece)
}

const tooManyPieces = (average: number) =>
  new TurboPiError(
    'BODY_MALFORMED',
    `The body comes in pieces of ${average.toFixed(1)} bytes; send it in larger ones, or with its content-length.`,
  )
