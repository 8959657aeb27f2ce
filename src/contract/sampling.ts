import { type TProperties, type TSchema, Type } from 'typebox'
import { invalid, numbers, requireNumbers } from './fields.js'
import { NdArraySchema } from './ndarray-schema.js'
import { NdArray } from './numpy.js'
import { type RtcOptions, rtcOf, rtcSchema } from './rtc.js'
import type { ActionShape, Wire } from './wire.js'

/** Most denoise steps that a caller may ask for. */
export const MAX_STEPS = 50

/** Noise is drawn from the normal distribution: what is far from it overflows within the network. */
const MOST_NOISE = 10_000

/** How a caller wants its chunk to be drawn; what is absent is the policy's, or the server's, to choose. */
export interface SamplingOptions {
  /** Denoise steps, 1…MAX_STEPS. */
  readonly steps?: number
  /** A seed of 32 bits, or noise [actionHorizon, actionDim], row-major. Without it a seed is drawn at random. */
  readonly noise?: number | Float32Array
  /** Real-time chunking. */
  readonly rtc?: RtcOptions
}

/** The part of a request's `options` that says how to sample. */
export function samplingSchema(shape: ActionShape, wire: Wire): TProperties {
  const { horizon, actionDim } = shape
  const row = Type.Array(Type.Number(), { minItems: actionDim, maxItems: actionDim })
  const rows = Type.Array(row, { minItems: horizon, maxItems: horizon })
  const noise = wire === 'json' ? rows : Type.Union([rows, NdArraySchema])
  return {
    num_steps: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_STEPS, description: 'denoise steps' })),
    seed: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 0xffffffff,
        description: 'of the noise; drawn at random when absent',
      }),
    ),
    noise: Type.Optional({
      ...noise,
      description: `explicit noise [${horizon}, ${actionDim}] instead of a seed, to reproduce a reference`,
    } as TSchema),
    rtc: Type.Optional(rtcSchema(shape, wire)),
  }
}

/** `options` that fit the schema. Throws OPTIONS_INVALID for what a schema cannot tell. */
export function samplingOf(options: Record<string, unknown>, shape: ActionShape): SamplingOptions {
  const {
    num_steps: steps,
    seed,
    noise,
    rtc,
  } = options as { num_steps?: number; seed?: number; noise?: unknown; rtc?: unknown }
  if (seed !== undefined && noise !== undefined)
    throw invalid(
      '/options/seed',
      'and /options/noise exclude each other; give one of them',
      'OPTIONS_INVALID',
    )
  const from = noise === undefined ? seed : noiseOf(noise, shape)
  return {
    ...(steps !== undefined && { steps }),
    ...(from !== undefined && { noise: from }),
    ...(rtc !== undefined && { rtc: rtcOf(rtc, shape) }),
  }
}

/** The schema sees to the size of nested lists; a NumPy array's is seen to here. */
function noiseOf(value: unknown, { horizon, actionDim }: ActionShape): Float32Array {
  const pointer = '/options/noise'
  requireNumbers(value, pointer, 'OPTIONS_INVALID')
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
    value instanceof NdArray ? numbers(value, pointer, 'OPTIONS_INVALID') : (value as number[][]).flat(),
  )
  if (!noise.every(x => Math.abs(x) <= MOST_NOISE))
    throw invalid(pointer, `must be numbers of −${MOST_NOISE} to ${MOST_NOISE}`, 'OPTIONS_INVALID')
  return noise
}
