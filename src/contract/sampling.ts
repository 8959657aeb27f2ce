import { type TProperties, type TSchema, Type } from 'typebox'
import { invalid, numbers } from './fields.js'
import { NdArray } from './msgpack.js'
import { NdArraySchema } from './ndarray-schema.js'
import type { ActionShape, Wire } from './wire.js'

/** Most denoise steps that a caller may ask for. */
export const MAX_STEPS = 50

/** How a caller wants its chunk to be drawn; what is absent is the policy's, or the server's, to choose. */
export interface SamplingOptions {
  /** Denoise steps, 1…MAX_STEPS. */
  readonly steps?: number
  /** A seed of 32 bits, or noise [actionHorizon, actionDim], row-major. Without it a seed is drawn at random. */
  readonly noise?: number | Float32Array
}

/** The part of a request's `options` that says how to sample. */
export function samplingSchema({ horizon, actionDim }: ActionShape, wire: Wire): TProperties {
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
  }
}

/** `options` that fit the schema. Throws OPTIONS_INVALID for what a schema cannot tell. */
export function samplingOf(options: Record<string, unknown>, shape: ActionShape): SamplingOptions {
  const { num_steps: steps, seed, noise } = options as { num_steps?: number; seed?: number; noise?: unknown }
  if (seed !== undefined && noise !== undefined)
    throw invalid(
      '/options/seed',
      'and /options/noise exclude each other; give one of them',
      'OPTIONS_INVALID',
    )
  const from = noise === undefined ? seed : noiseOf(noise, shape)
  return { ...(steps !== undefined && { steps }), ...(from !== undefined && { noise: from }) }
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
