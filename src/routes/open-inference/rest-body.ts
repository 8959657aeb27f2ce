import { createGunzip, createInflate } from 'node:zlib'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { shown } from '../../contract/limits.js'
import { HEADER_LENGTH, type RestRequest, readRestRequest } from '../../contract/open-inference/rest.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { type BodyLimits, endShares, received } from '../body.js'
import type { Share } from '../request-memory.js'

/** A request's body; its memory is held until the answer has gone. */
export interface TensorBody {
  readonly request: RestRequest
  readonly share: Share
}

const ENCODINGS = {
  identity: undefined,
  gzip: createGunzip,
  // RFC 9110 §8.4.1.2 and Triton's clients alike: in zlib's format.
  deflate: createInflate,
} as const

/**
 * Reads bodies of these routes into TensorBody: JSON, or JSON and binary data after it, compressed or not. Triton's clients name no
 * content type; others are refused.
 */
export function tensorBodies(app: FastifyInstance, limits: BodyLimits): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', async (request: FastifyRequest): Promise<TensorBody> => {
    requireType(request.headers['content-type'])
    const encoding = request.headers['content-encoding'] ?? 'identity'
    if (!Object.hasOwn(ENCODINGS, encoding))
      throw new TurboPiError(
        'CONTENT_TYPE_UNSUPPORTED',
        `The body is compressed (content-encoding: ${shown(encoding)}); this server reads gzip and deflate.`,
      )
    const { share, body } = received(request, limits, ENCODINGS[encoding as keyof typeof ENCODINGS]?.())
    try {
      const header = request.headers[HEADER_LENGTH]
      const read = readRestRequest(await body.catch(notInflated), header === undefined ? header : `${header}`)
      share.droppable = false
      return { request: read, share }
    } catch (error) {
      share.end()
      throw error
    }
  })
  endShares(app)
}

function requireType(type: string | undefined): void {
  if (type === undefined || /^application\/(?:json|octet-stream) *(?:;|$)/i.test(type)) return
  throw new TurboPiError(
    'CONTENT_TYPE_UNSUPPORTED',
    `The content type is ${shown(type)}; send application/json, application/octet-stream or none.`,
  )
}

function notInflated(error: unknown): never {
  if (typeof (error as { code?: unknown }).code !== 'string' || error instanceof TurboPiError) throw error
  throw new TurboPiError('BODY_MALFORMED', `The body cannot be inflated: ${reasonOf(error)}.`)
}
