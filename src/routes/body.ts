import type { Transform } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { CALLER_LEFT } from '../cancellation.js'
import { decodeJson } from '../contract/json.js'
import { decodeMsgpack } from '../contract/msgpack.js'
import type { Wire } from '../contract/wire.js'
import { TurboPiError } from '../errors.js'
import { boundPieces } from './body-pieces.js'
import type { RequestMemory, Share } from './request-memory.js'

/** A request's body, and the wire that its content type names. */
export interface WireBody {
  readonly wire: Wire
  readonly value: unknown
  /** The memory that it came with, held until the answer has gone. */
  readonly share: Share
}

export interface BodyLimits {
  /** Bytes that a body may have. */
  bodyLimit: number
  memory: RequestMemory
}

const TYPES: Readonly<Record<string, Wire>> = {
  'application/json': 'json',
  'application/msgpack': 'msgpack',
  'application/x-msgpack': 'msgpack',
}

/** Bytes that are set aside at a time for a body: at once for what is announced, and as it comes for the rest. */
const BLOCK_BYTES = 2 ** 20

/** Reads the bodies of these routes, JSON and MessagePack alike, into WireBody. Other content types are refused. */
export function bodyParsers(app: FastifyInstance, limits: BodyLimits): void {
  app.removeAllContentTypeParsers()
  boundPieces(app)
  for (const [type, wire] of Object.entries(TYPES)) {
    const decode = wire === 'json' ? decodeJson : decodeMsgpack
    app.addContentTypeParser(type, async (request: FastifyRequest): Promise<WireBody> => {
      const { share, body } = received(request, limits)
      try {
        const value = decode(await body)
        share.droppable = false
        return { wire, value, share }
      } catch (error) {
        share.end()
        throw error
      }
    })
  }
  endShares(app)
}

/** What was read of a request. Without a content type and a body Fastify reads nothing. Throws BODY_MALFORMED. */
export function bodyOf<Body extends { share: Share }>({ body }: FastifyRequest): Body {
  if (!body) throw new TurboPiError('BODY_MALFORMED', 'The request has no body, and no content type.')
  return body as Body
}

/** Bodies are held until their answers have gone. */
export function endShares(app: FastifyInstance): void {
  app.addHook('onResponse', (request, _reply, done) => {
    ;(request.body as Pick<WireBody, 'share'> | undefined)?.share.end()
    done()
  })
}

/** The bytes of a body, bounded in number and in all bodies together; `inflate` is what they go through first. */
export function received(
  { raw, headers }: FastifyRequest,
  { bodyLimit, memory }: BodyLimits,
  inflate?: Transform,
): { share: Share; body: Promise<Buffer> } {
  let fail: (error: unknown) => void = () => {}
  const share = memory.share(error => fail(error))
  const body = new Promise<Buffer>((resolve, reject) => {
    const announced = Number(headers['content-length'] ?? 0)
    if (announced > bodyLimit) throw tooLarge(bodyLimit)
    const full: Buffer[] = []
    let block = Buffer.allocUnsafe(Math.min(announced || 2 ** 16, BLOCK_BYTES))
    let filled = 0
    let length = 0
    const source = inflate ?? raw
    const end = () => {
      raw.off('error', fail)
      source.off('data', onData).off('end', onEnd).off('error', fail)
      if (!inflate) return
      raw.unpipe(inflate)
      inflate.on('error', () => {}).destroy()
    }
    const onData = (piece: Buffer) => {
      length += piece.length
      if (length > bodyLimit) return fail(tooLarge(bodyLimit))
      // Copied: a piece of a few bytes keeps all that was read from the socket with it.
      for (let at = 0; at < piece.length; ) {
        if (filled === block.length) {
          full.push(block)
          block = Buffer.allocUnsafe(BLOCK_BYTES)
          filled = 0
        }
        const copied = piece.copy(block, filled, at)
        filled += copied
        at += copied
      }
      share.set(length)
    }
    const onEnd = () => {
      end()
      const last = block.subarray(0, filled)
      resolve(full.length === 0 ? last : Buffer.concat([...full, last], length))
    }
    fail = error => {
      end()
      reject(error)
    }
    if (raw.destroyed) return fail(CALLER_LEFT)
    source.on('data', onData).on('end', onEnd).on('error', fail)
    if (inflate) raw.on('error', fail).pipe(inflate)
    // Paused by `boundPieces`.
    else raw.resume()
  })
  return { share, body }
}

const tooLarge = (limit: number) =>
  new TurboPiError('BODY_TOO_LARGE', `This server takes bodies of ${limit} bytes (--body-limit).`)
