import { reasonOf, TurboPiError } from '../errors.js'
import { NdArray } from './msgpack.js'
import { numbersOf, textOf } from './ndarray.js'
import type { InferOptions, Observation, ObservationImage, ObservationSpec } from './observation.js'
import {
  type ActionShape,
  inferRequestSchema,
  MAX_PROMPT_LENGTH,
  observationSchema,
  optionsSchema,
  type Wire,
} from './schemas.js'
import { type Check, compileCheck, pointerTo } from './validate.js'

export interface ObservationLimits {
  /** Camera images that one observation may carry. */
  maxImages: number
}

/** One request, whatever wire it came over. */
export interface InferRequest {
  observation: Observation
  options: InferOptions
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
  readonly #limits: ObservationLimits
  readonly #requests: Record<Wire, Check>
  readonly #observations: Record<Wire, Check>
  readonly #options: Record<Wire, Check>

  constructor(spec: ObservationSpec, shape: ActionShape, limits: ObservationLimits) {
    this.#cameras = spec.cameras.map(({ key }) => fieldOf(key))
    this.#state = spec.state.map(({ key, size }) => ({ ...fieldOf(key), size }))
    this.#prompt = fieldOf(spec.prompt.key)
    this.#shape = shape
    this.#limits = limits
    const both = (make: (wire: Wire) => Check): Record<Wire, Check> => ({
      json: make('json'),
      msgpack: make('msgpack'),
    })
    this.#requests = both(wire => compileCheck(inferRequestSchema(spec, shape, wire)))
    this.#observations = both(wire => compileCheck(observationSchema(spec, wire)))
    this.#options = both(wire =>
      compileCheck(optionsSchema(shape.horizon, shape.actionDim, wire), 'OPTIONS_INVALID'),
    )
  }

  /** The body of POST /infer: observation keys and `options` side by side. */
  request(body: unknown, wire: Wire): InferRequest {
    this.#requests[wire](body)
    const { options, ...observation } = body as Record<string, unknown>
    return { observation: this.#observation(observation), options: parseOptions(options, this.#shape) }
  }

  /** An observation without options, as openpi's clients send it. */
  observation(value: unknown, wire: Wire): Observation {
    this.#observations[wire](value)
    return this.#observation(value as Record<string, unknown>)
  }

  /** Options that arrive apart from the observation. */
  options(value: unknown, wire: Wire): InferOptions {
    if (value === undefined) return {}
    this.#options[wire](value)
    return parseOptions(value, this.#shape)
  }

  #observation(value: Record<string, unknown>): Observation {
    const images: Record<string, ObservationImage> = {}
    const state: Record<string, Float64Array> = {}
    let count = 0
    for (const { key, path, pointer } of this.#cameras) {
      const image = at(value, path)
      if (image === undefined) continue
      images[key] = imageOf(image, pointer)
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

/** A key of the observation, and where it stands: `images.cam_high` inside `images`, `observation/image` as one key. */
interface Field {
  key: string
  path: readonly string[]
  pointer: string
}

function fieldOf(key: string): Field {
  const path = key.split('.')
  return { key, path, pointer: pointerTo(...path) }
}

function at(value: Record<string, unknown>, path: readonly string[]): unknown {
  let node: unknown = value
  for (const name of path) node = (node as Record<string, unknown> | undefined)?.[name]
  return node
}

const invalid = (
  pointer: string,
  detail: string,
  code: 'OBSERVATION_INVALID' | 'IMAGE_INVALID' | 'OPTIONS_INVALID' = 'OBSERVATION_INVALID',
) => new TurboPiError(code, `${pointer} ${detail}`, { fields: [{ pointer, detail }] })

function imageOf(value: unknown, pointer: string): ObservationImage {
  if (typeof value === 'string') return { kind: 'encoded', bytes: base64(value, pointer) }
  if (value instanceof Uint8Array) return { kind: 'encoded', bytes: value }
  if (value instanceof NdArray) return arrayImage(value, pointer)
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
    throw invalid(pointer, `must be uint8 or floats, got dtype ${array.dtype}`)
  return { kind: 'array', dtype: 'float64', shape, data: numbers(array, pointer) }
}

function base64(text: string, pointer: string): Buffer {
  const comma = text.startsWith('data:') ? text.indexOf(',') : -1
  if (
    text.startsWith('data:') &&
    !/^data:[\w.+-]+\/[\w.+-]+(;[\w=.+-]+)*;base64$/.test(text.slice(0, Math.max(comma, 0)))
  )
    throw invalid(pointer, 'must be a data: URL of the form data:image/…;base64,…', 'IMAGE_INVALID')
  const payload = comma < 0 ? text : text.slice(comma + 1)
  const bytes = Buffer.from(payload, 'base64')
  // Buffer.from skips what is not base64: the length tells.
  const digits = payload.length - (payload.endsWith('==') ? 2 : payload.endsWith('=') ? 1 : 0)
  if (payload.length === 0 || bytes.byteLength !== Math.floor((digits * 3) / 4) || digits % 4 === 1)
    throw invalid(
      pointer,
      'must be base64 (RFC 4648), got other characters or a wrong length',
      'IMAGE_INVALID',
    )
  return bytes
}

function numbers(array: NdArray, pointer: string): Float64Array {
  try {
    return numbersOf(array)
  } catch (error) {
    throw invalid(pointer, reasonOf(error))
  }
}

function stateOf(value: unknown, size: number, pointer: string): Float64Array {
  const state =
    value instanceof NdArray
      ? numbers(value, pointer)
      : new Float64Array(Array.isArray(value) ? value : [value as number])
  if (state.length !== size) throw invalid(pointer, `must hold ${size} numbers, got ${state.length}`)
  const bad = state.findIndex(x => !Number.isFinite(x))
  if (bad >= 0) throw invalid(`${pointer}/${bad}`, `must be finite, got ${state[bad]}`)
  return state
}

function promptOf(value: unknown, pointer: string): string {
  const text =
    typeof value === 'string'
      ? value
      : value instanceof NdArray
        ? textOf(value)
        : new TextDecoder('utf-8', { ignoreBOM: true }).decode(value as Uint8Array)
  if (text === undefined)
    throw invalid(pointer, `must be text, got a NumPy array of dtype ${(value as NdArray).dtype}`)
  if (text.length > MAX_PROMPT_LENGTH)
    throw invalid(pointer, `must have at most ${MAX_PROMPT_LENGTH} characters, got ${text.length}`)
  return text
}

/** The schema sees to the size of nested lists; a NumPy array's is seen to here. */
function noiseOf(value: unknown, { horizon, actionDim }: ActionShape): Float32Array {
  const pointer = '/options/noise'
  if (
    value instanceof NdArray &&
    (value.shape.length !== 2 || value.shape[0] !== horizon || value.shape[1] !== actionDim)
  )
    throw invalid(
      pointer,
      `must have shape [${horizon}, ${actionDim}], got [${value.shape.join(', ')}]`,
      'OPTIONS_INVALID',
    )
  const noise = Float32Array.from(
    value instanceof NdArray ? numbers(value, pointer) : (value as number[][]).flat(),
  )
  if (!noise.every(Number.isFinite))
    throw invalid(pointer, 'must be finite float32 numbers', 'OPTIONS_INVALID')
  return noise
}

function parseOptions(value: unknown, shape: ActionShape): InferOptions {
  const raw = (value ?? {}) as { num_steps?: number; seed?: number; noise?: unknown; deadline_ms?: number }
  if (raw.seed !== undefined && raw.noise !== undefined)
    throw invalid(
      '/options/seed',
      'and /options/noise exclude each other; give one of them',
      'OPTIONS_INVALID',
    )
  return {
    ...(raw.num_steps !== undefined && { numSteps: raw.num_steps }),
    ...(raw.seed !== undefined && { seed: raw.seed }),
    ...(raw.noise !== undefined && { noise: noiseOf(raw.noise, shape) }),
    ...(raw.deadline_ms !== undefined && { deadlineMs: raw.deadline_ms }),
  }
}
