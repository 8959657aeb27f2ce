import { numbersOf } from '../../contract/ndarray.js'
import { NdArray } from '../../contract/numpy.js'
import type { Codec } from './codec.js'

/** Text frames, for browsers: pixels and image files travel as base64. */
export const jsonCodec: Codec = {
  protocol: 'turbo-pi.v1+json',
  encode: message =>
    // Not the value that is handed over: a Buffer has made itself a list of numbers by then.
    JSON.stringify(message, function (this: Record<string, unknown>, key) {
      return jsonOf(this[key])
    }),
  decode: frame => {
    if (typeof frame !== 'string') throw new Error('a binary frame where text is spoken')
    return JSON.parse(frame)
  },
}

function jsonOf(value: unknown): unknown {
  if (value instanceof Uint8Array) return base64(value)
  if (!(value instanceof NdArray)) return value
  const { dtype, shape, data } = value
  if (dtype === '|u1' && shape.length === 3 && shape[2] === 3)
    return { data: base64(data), encoding: 'rgb8', width: shape[1], height: shape[0] }
  if (shape.length <= 1) return Array.from(numbersOf(value))
  throw new TypeError(
    `JSON carries images [height, width, 3] of uint8 and lists of numbers, got ${dtype} [${shape.join(', ')}].`,
  )
}

/** Bytes that one call of String.fromCharCode takes safely. */
const SLICE = 0x8000

function base64(bytes: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < bytes.length; at += SLICE)
    binary += String.fromCharCode(...bytes.subarray(at, at + SLICE))
  return btoa(binary)
}
