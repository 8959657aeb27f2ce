import { TurboPiError } from '../errors.js'
import { at, type Field, fieldOf, invalid, numbers, requireNumbers } from './fields.js'
import { shown } from './limits.js'
import { countOf } from './ndarray.js'
import { NdArray } from './numpy.js'
import type { Observation, ObservationImage, ObservationSpec } from './observation.js'
import { ObservationForms } from './observation-forms.js'
import { type SamplingOptions, samplingOf } from './sampling.js'
import {
  type ActionShape,
  inferRequestSchema,
  MAX_PROMPT_LENGTH,
  MSGPACK_IMAGE_FORMS,
  observationSchema,
  optionsSchema,
  type Wire,
} from './schemas.js'
import { isText, textOf, textOfUtf8 } from './text.js'
import { type Check, compileCheck, kindOf } from './validate.js'

/** NumPy's text takes four bytes a character; no form of a prompt takes more. */
const MAX_PROMPT_BYTES = 4 * MAX_PROMPT_LENGTH

export interface ObservationLimits {
  /** Camera images that one observation may carry. */
  maxImages: number
}

/** What a caller may choose for one inference. */
export interface RequestOptions {
  sampling: SamplingOptions
  /** Milliseconds from arrival after which an answer is of no use. */
  deadlineMs: number | undefined
}

/** One request, whatever wire it came over. */
export interface InferRequest extends RequestOptions {
  observation: Observation
}

/**
 * Turns request bodies into observations. Both wires mean the same: every key is checked against the policy's
 * embodiment, nothing is coerced, dropped or defaulted, and each error names its field.
 */
export class RequestParser {
  readonly #cameras: readonly Field[]
  readonly #state: readonly (Field & { size: number })[]
  readonly #prompt: Field
  readonly #shape: ActionShape
  readonly #forms: ObservationForms
  readonly #limits: ObservationLimits
  readonly #requests: Record<Wire, Check>
  readonly #observations: Record<Wire, Check>
  readonly #options: Record<Wire, Check>

  constructor(spec: ObservationSpec, shape: ActionShape, limits: ObservationLimits) {
    this.#cameras = spec.cameras.map(({ key }) => fieldOf(key))
    this.#state = spec.state.map(({ key, size }) => ({ ...fieldOf(key), size }))
    this.#prompt = fieldOf(spec.prompt.key)
    this.#shape = shape
    this.#forms = new ObservationForms(spec)
    this.#limits = limits
    const both = (make: (wire: Wire) => Check): Record<Wire, Check> => ({
      json: make('json'),
      msgpack: make('msgpack'),
    })
    this.#requests = both(wire => compileCheck(inferRequestSchema(spec, shape, wire)))
    this.#observations = both(wire => compileCheck(observationSchema(spec, wire)))
    this.#options = both(wire => compileCheck(optionsSchema(shape, wire), 'OPTIONS_INVALID'))
  }

  /** The body of POST /infer: observation keys and `options` side by side. */
  request(body: unknown, wire: Wire): InferRequest {
    const arranged = this.#forms.withoutNulls(this.#forms.nested(body))
    this.#requests[wire](arranged)
    const { options, ...observation } = arranged as Record<string, unknown>
    const { sampling, deadlineMs } = this.#optionsOf(options)
    return { observation: this.#observation(observation, wire), sampling, deadlineMs }
  }

  /** An observation without options. */
  observation(value: unknown, wire: Wire): Observation {
    const arranged = this.#forms.withoutNulls(this.#forms.nested(value))
    this.#observations[wire](arranged)
    return this.#observation(arranged as Record<string, unknown>, wire)
  }

  /** Fields with flat keys in their places, before they are merged with those of earlier observations. */
  fields(sent: Readonly<Record<string, unknown>>): Record<string, unknown> {
    return this.#forms.nested(sent) as Record<string, unknown>
  }

  /** The observation of an openpi client. Like openpi's own transforms it passes over top-level keys that it does not know. */
  openpiObservation(value: unknown): { observation: Observation; passedOver: readonly string[] } {
    const nested = this.#forms.nested(value)
    const { roots } = this.#forms
    const passedOver = Object.keys(Object(nested)).filter(key => !roots.has(key))
    const known =
      passedOver.length === 0
        ? nested
        : Object.fromEntries(Object.entries(Object(nested)).filter(([key]) => roots.has(key)))
    return { observation: this.observation(known, 'msgpack'), passedOver }
  }

  /** Options that arrive apart from the observation. */
  options(value: unknown, wire: Wire): RequestOptions {
    if (value !== undefined) this.#options[wire](value)
    return this.#optionsOf(value)
  }

  #optionsOf(value: unknown): RequestOptions {
    const options = (value ?? {}) as Record<string, unknown>
    return {
      sampling: samplingOf(options, this.#shape),
      deadlineMs: options['deadline_ms'] as number | undefined,
    }
  }

  #observation(value: Record<string, unknown>, wire: Wire): Observation {
    const images: Record<string, ObservationImage> = {}
    const state: Record<string, Float64Array> = {}
    let count = 0
    for (const { key, path, pointer } of this.#cameras) {
      const image = at(value, path)
      if (image === undefined) continue
      images[key] = imageOf(image, pointer, wire)
      count += 1
    }
    if (count > this.#limits.maxImages)
      throw new TurboPiError(
        'OBSERVATION_INVALID',
        `The observation carries ${count} images; this server accepts ${this.#limits.maxImages} (--max-images).`,
      )
    for (const { key, path, pointer, size } of this.#state)
      state[key] = stateOf(at(value, path), size, pointer)
    const prompt = at(value, this.#prompt.path)
    return prompt === undefined
      ? { images, state }
      : { images, state, prompt: promptOf(prompt, this.#prompt.pointer) }
  }
}

function imageOf(value: unknown, pointer: string, wire: Wire): ObservationImage {
  if (typeof value === 'string') return { kind: 'encoded', bytes: base64(value, pointer) }
  if (value instanceof Uint8Array) return { kind: 'encoded', bytes: value }
  if (value instanceof NdArray) return arrayImage(value, pointer)
  // MessagePack's schemas cannot tell bytes from anything else.
  if (wire === 'msgpack') throw invalid(pointer, `takes ${MSGPACK_IMAGE_FORMS}, got ${kindOf(value)}`)
  const { data, width, height } = value as { data: string; width: number; height: number }
  const bytes = base64(data, `${pointer}/data`)
  if (bytes.byteLength !== width * height * 3)
    throw invalid(
      pointer,
      `must hold ${width} × ${height} × 3 = ${width * height * 3} bytes, got ${bytes.byteLength}`,
      'IMAGE_INVALID',
    )
  return { kind: 'array', dtype: 'uint8', shape: [height, width, 3], data: bytes }
}

function arrayImage(array: NdArray, pointer: string): ObservationImage {
  const { shape } = array
  if (shape.length !== 3 || (shape[2] !== 3 && shape[0] !== 3))
    throw invalid(
      pointer,
      `must have shape [height, width, 3] or [3, height, width], got [${shape.join(', ')}]`,
    )
  if (array.dtype === '|u1') return { kind: 'array', dtype: 'uint8', shape, data: array.data }
  if (!/^[<>]f[248]$/.test(array.dtype))
    throw invalid(pointer, `must be uint8 or floats, got dtype ${shown(array.dtype)}`)
  return { kind: 'floats', array }
}

function base64(text: string, pointer: string): Buffer {
  const comma = text.startsWith('data:') ? text.indexOf(',') : -1
  if (
    text.startsWith('data:') &&
    !/^data:[\w.+-]+\/[\w.+-]+(;[\w=.+-]+)*;base64$/.test(text.slice(0, Math.max(comma, 0)))
  )
    throw invalid(pointer, 'must be a data: URL of the form data:image/…;base64,…', 'IMAGE_INVALID')
  const sent = comma < 0 ? text : text.slice(comma + 1)
  // Line breaks as Python's base64.encodebytes and MIME set them.
  const payload = sent.includes('\n') || sent.includes('\r') ? sent.replaceAll(/[\r\n]/g, '') : sent
  const bytes = Buffer.from(payload, 'base64')
  // Buffer.from skips what is not base64: the length tells. Of letters beyond Latin-1 it takes the lower half.
  const digits = payload.length - (payload.endsWith('==') ? 2 : payload.endsWith('=') ? 1 : 0)
  if (
    payload.length === 0 ||
    bytes.byteLength !== Math.floor((digits * 3) / 4) ||
    digits % 4 === 1 ||
    Buffer.byteLength(payload) !== payload.length
  )
    throw invalid(
      pointer,
      'must be base64 (RFC 4648), got other characters or a wrong length',
      'IMAGE_INVALID',
    )
  return bytes
}

function stateOf(value: unknown, size: number, pointer: string): Float64Array {
  requireNumbers(value, pointer)
  const count = value instanceof NdArray ? countOf(value.shape) : Array.isArray(value) ? value.length : 1
  if (count !== size) throw invalid(pointer, `must hold ${size} numbers, got ${count}`)
  const state =
    value instanceof NdArray
      ? numbers(value, pointer)
      : new Float64Array(Array.isArray(value) ? value : [value as number])
  const bad = state.findIndex(x => !Number.isFinite(x))
  if (bad >= 0) throw invalid(`${pointer}/${bad}`, `must be finite, got ${state[bad]}`)
  return state
}

function promptOf(value: unknown, pointer: string): string {
  if (typeof value === 'string') return promptText(value, pointer)
  const bytes =
    value instanceof Uint8Array ? value : value instanceof NdArray && isText(value) ? value.data : undefined
  if (!bytes) {
    const came = value instanceof NdArray ? `a NumPy array of dtype ${shown(value.dtype)}` : kindOf(value)
    throw invalid(pointer, `must be text, got ${came}`)
  }
  if (bytes.byteLength > MAX_PROMPT_BYTES) throw tooLong(pointer, `${bytes.byteLength} bytes`)
  return promptText(value instanceof NdArray ? textOf(value) : textOfUtf8(bytes), pointer)
}

function promptText(text: string | undefined, pointer: string): string {
  if (text === undefined || !text.isWellFormed())
    throw invalid(pointer, 'must be well-formed Unicode, in UTF-8 where it is bytes')
  if (text.length > MAX_PROMPT_LENGTH) throw tooLong(pointer, `${text.length}`)
  return text
}

const tooLong = (pointer: string, came: string) =>
  invalid(pointer, `must have at most ${MAX_PROMPT_LENGTH} characters, got ${came}`)
