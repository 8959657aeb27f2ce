import { numbersOf } from '../../contract/ndarray.js'
import type { NdArray } from '../../contract/numpy.js'
import type { ObservationImage } from '../../contract/observation.js'
import type { RgbImage } from './resize.js'

/** Raw values of an image of shape [h, w, 3] or [3, h, w]; floats are in 0…1. */
export type ImageArray = Exclude<ObservationImage, { kind: 'encoded' }>

export const shapeOf = (image: ImageArray): readonly number[] =>
  image.kind === 'array' ? image.shape : image.array.shape

/** Layout of an array: a first dimension of 3 means CHW as in openpi; `layout` decides when first and last are 3. */
export function layoutOf(shape: readonly number[], layout: 'hwc' | 'chw'): 'hwc' | 'chw' | undefined {
  if (shape.length !== 3) return undefined
  const [first, , last] = shape
  if (first === 3 && last === 3) return layout
  return first === 3 ? 'chw' : last === 3 ? 'hwc' : undefined
}

/**
 * Pixels of an array as 8-bit HWC; floats become trunc(255·x) in their own precision, as NumPy computes it. Undefined when
 * one of them is not in 0…1.
 */
export function toRgb(image: ImageArray, layout: 'hwc' | 'chw'): RgbImage | undefined {
  const shape = shapeOf(image)
  const [height, width] = (layout === 'chw' ? shape.slice(1) : shape) as [number, number]
  const bytes = image.kind === 'array' ? image.data : quantised(image.array)
  if (!bytes) return undefined
  return { width, height, pixels: layout === 'chw' ? interleave(bytes, width * height) : bytes }
}

function quantised(array: NdArray): Uint8Array | undefined {
  const values = numbersOf(array)
  const scale = scaleOf(array)
  const bytes = new Uint8Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = scale(values[i] as number)
    // A hair outside 0…1 is a rounding error, which NumPy cuts off.
    if (!(value > -1 && value < 256)) return undefined
    bytes[i] = value
  }
  return bytes
}

/** 255·x as NumPy computes it in the array's own precision; making it an integer truncates. */
function scaleOf({ dtype }: NdArray): (value: number) => number {
  if (dtype.endsWith('2')) return value => halfOf(255 * value)
  return dtype.endsWith('4') ? value => Math.fround(255 * value) : value => 255 * value
}

/** Rounds to IEEE 754 binary16, ties to even. */
function halfOf(value: number): number {
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value))))
  // A sum with this number has no digits behind the eleventh of `value`.
  const shift = 1.5 * 2 ** (exponent + 42)
  return value + shift - shift
}

/** Three planes to triples. */
function interleave(planes: Uint8Array, count: number): Uint8Array {
  const pixels = new Uint8Array(count * 3)
  for (let i = 0; i < count; i++) {
    pixels[3 * i] = planes[i] as number
    pixels[3 * i + 1] = planes[count + i] as number
    pixels[3 * i + 2] = planes[2 * count + i] as number
  }
  return pixels
}
