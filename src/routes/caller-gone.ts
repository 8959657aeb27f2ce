import type { FastifyReply, FastifyRequest } from 'fastify'
import { CALLER_LEFT, Cancellation } from '../cancellation.js'

/** Aborted when the caller goes away before its answer has been written. */
export function callerGone({ raw: { socket } }: FastifyRequest, { raw }: FastifyReply): Cancellation {
  const gone = new Cancellation()
  const onClose = () => {
    if (!raw.writableFinished) gone.abort(CALLER_LEFT)
  }
  // The socket knows a turn before the reply does.
  if (raw.destroyed || socket.destroyed) onClose()
  raw.once('close', onClose)
  return gone
}
