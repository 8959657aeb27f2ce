import type { Dtype } from '../dtype.js'
import { damaged } from './damage.js'

/** How an array is cut into chunks, and where they lie. All chunks have the whole chunk shape, at the edges too. */
export interface ZarrArray {
  /** The metadata's file, for messages. */
  path: string
  dtype: Dtype
  shape: readonly number[]
  /** Shape of the pieces that are compressed each by itself. */
  chunkShape: readonly number[]
  compressed: boolean
  /** Key of the stored object that holds a chunk, relative to the array. */
  keyOf(chunk: readonly number[]): string
  /** Of sharded arrays: chunks of an object along each axis. */
  shard?: readonly number[]
}

/** A field of the metadata that says what this server does not read. */
export const unsupported = (path: string, field: string, came: unknown, expected: string) =>
  damaged(path, `${field} is ${JSON.stringify(came) ?? 'missing'}; this server reads ${expected}.`)

/** A chunk that is not stored is zeros; Orbax writes no other fill value. */
export function requireZeroFill(path: string, fill: unknown): void {
  if (fill !== null && fill !== undefined && fill !== 0)
    throw unsupported(path, 'fill_value', fill, '0 or null')
}

const isShape = (value: unknown, least: number): value is number[] =>
  Array.isArray(value) && value.every(size => Number.isSafeInteger(size) && size >= least)

/** The shape of an array and of its chunks. */
export function checkGrid(path: string, shape: unknown, chunkShape: unknown) {
  if (!isShape(shape, 0)) throw unsupported(path, 'shape', shape, 'lists of sizes')
  if (!isShape(chunkShape, 1) || chunkShape.length !== shape.length)
    throw unsupported(path, 'chunk shape', chunkShape, `${shape.length} positive sizes`)
  return { shape, chunkShape }
}
