import { isAscii, isUtf8 } from 'node:buffer'
import { reasonOf, TurboPiError } from '../errors.js'
import { MESSAGE_LIMITS, type MessageLimits } from './limits.js'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])

/** Bytes of numbers, names and white space that one value may take beside its text; indented numbers take some 30. */
const BYTES_PER_VALUE = 64
/** Letters after which searching for the end of a text is faster than stepping through it. */
const SHORT = 48

/**
 * Reads one JSON message as `decodeMsgpack` reads its own: within `limits`, of valid UTF-8, without a key that stands twice
 * in an object. What would be too much is refused before any of it is built. Keys are all own, `__proto__` too; a byte order
 * mark in front is passed over (RFC 8259 §8.1). Throws BODY_MALFORMED.
 */
export function decodeJson(bytes: Uint8Array, limits: Partial<MessageLimits> = {}): unknown {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const message = all.subarray(0, 3).equals(BYTE_ORDER_MARK) ? all.subarray(3) : all
  const keys = countedKeys(message, { ...MESSAGE_LIMITS, ...limits })
  const value = parsed(textOf(message))
  if (keysOf(value) !== keys) throw malformed('a key occurs twice in an object')
  return value
}

const malformed = (detail: string) => new TurboPiError('BODY_MALFORMED', `JSON: ${detail}.`)

function textOf(message: Buffer): string {
  if (isAscii(message)) return message.toString('latin1')
  if (isUtf8(message)) return message.toString()
  throw malformed('the text is not UTF-8')
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw malformed(reasonOf(error))
  }
}

/** Goes through the structure alone, which is little beside the pictures' text. Gives the number of keys in all objects. */
function countedKeys(message: Buffer, { maxDepth, maxValues }: MessageLimits): number {
  let keys = 0
  let values = 1
  let depth = 0
  let plain = 0
  for (let at = 0; at < message.length; at++) {
    if (++plain > maxValues * BYTES_PER_VALUE)
      throw malformed(`more than ${maxValues * BYTES_PER_VALUE} bytes that are neither text nor pictures`)
    switch (message[at]) {
      case QUOTE:
        at = endOfText(message, at + 1)
        break
      case 0x3a /* : */:
        keys++
        break
      case 0x5b /* [ */:
      case 0x7b /* { */:
        if (++depth > maxDepth) throw malformed(`nested deeper than ${maxDepth}`)
        values++
        break
      case 0x2c /* , */:
        values++
        break
      case 0x5d /* ] */:
      case 0x7d /* } */:
        depth--
    }
    if (values > maxValues) throw malformed(`more than ${maxValues} values in one message`)
  }
  return keys
}

/** Position of the quote that ends the text whose first byte is at `start`. */
function endOfText(message: Buffer, start: number): number {
  let at = start
  for (const near = Math.min(start + SHORT, message.length); at < near; at++) {
    if (message[at] === QUOTE) return at
    if (message[at] === BACKSLASH) at++
  }
  // Most texts of this length are pictures, without an escape.
  const quote = message.indexOf(QUOTE, at)
  if (quote < 0) return message.length
  if (message[quote - 1] !== BACKSLASH) return quote
  for (; at < message.length; at++) {
    if (message[at] === QUOTE) return at
    if (message[at] === BACKSLASH) at++
  }
  return message.length
}

function keysOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let keys = 0
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object') keys += keysOf(item)
    return keys
  }
  for (const key of Object.keys(value)) keys += 1 + keysOf((value as Record<string, unknown>)[key])
  return keys
}
