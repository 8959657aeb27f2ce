import { reasonOf, TurboPiError } from '../errors.js'
import { numbersOf } from './ndarray.js'
import { NdArray } from './numpy.js'
import { kindOf, pointerTo } from './validate.js'

/** A key of the observation, and where it stands: `images.cam_high` inside `images`, `observation/image` as one key. */
export interface Field {
  key: string
  path: readonly string[]
  pointer: string
}

export function fieldOf(key: string): Field {
  const path = key.split('.')
  return { key, path, pointer: pointerTo(...path) }
}

export function at(value: Readonly<Record<string, unknown>>, path: readonly string[]): unknown {
  let node: unknown = value
  for (const name of path) node = (node as Record<string, unknown> | undefined)?.[name]
  return node
}

/** The error of one field that does not fit. */
export const invalid = (
  pointer: string,
  detail: string,
  code: 'OBSERVATION_INVALID' | 'IMAGE_INVALID' | 'OPTIONS_INVALID' = 'OBSERVATION_INVALID',
) => new TurboPiError(code, `${pointer} ${detail}`, { fields: [{ pointer, detail }] })

/** Throws for what a schema cannot tell from a NumPy array: a map of its fields. */
export function requireNumbers(value: unknown, pointer: string, code?: Parameters<typeof invalid>[2]): void {
  if (value instanceof NdArray || Array.isArray(value) || typeof value === 'number') return
  throw invalid(pointer, `takes numbers or a NumPy array, got ${kindOf(value)}`, code)
}

/** The numbers of a NumPy array at `pointer`. */
export function numbers(array: NdArray, pointer: string, code?: Parameters<typeof invalid>[2]): Float64Array {
  try {
    return numbersOf(array)
  } catch (error) {
    throw invalid(pointer, reasonOf(error), code)
  }
}
