import type { ObservationImage } from '../../contract/observation.js'
import type { RgbImage } from './resize.js'

/** Raw values of an image of shape [h, w, 3] or [3, h, w]; floats are in 0…1, those of float16 widened. */
export type ImageArray = Extract<ObservationImage, { kind: 'array' }>

/** Layout of an array: a first dimension of 3 means CHW as in openpi; `layout` decides when first and last are 3. */
export function layoutOf(shape: readonly number[], layout: 'hwc' | 'chw'): 'hwc' | 'chw' | undefined {
  if (shape.length !== 3) return undefined
  const [first, , last] = shape
  if (first === 3 && last === 3) return layout
  return first === 3 ? 'chw' : last === 3 ? 'hwc' : undefined
}

/** Pixels of an array as 8-bit HWC; floats become trunc(255·x) in their own precision, as NumPy computes it. */
export function toRgb(image: ImageArray, layout: 'hwc' | 'chw'): RgbImage {
  const { shape } = image
  const [height, width] = (layout === 'chw' ? shape.slice(1) : shape) as [number, number]
  const bytes = image.data instanceof Uint8Array ? image.data : quantise(image.data, scaleOf(image))
  return { width, height, pixels: layout === 'chw' ? interleave(bytes, width * height) : bytes }
}

function quantise(values: Float32Array | Float64Array, scale: (value: number) => number): Uint8Array {
  const bytes = new Uint8Array(values.length)
  for (let i = 0; i < values.length; i++) bytes[i] = scale(values[i] as number)
  return bytes
}

/** 255·x as NumPy computes it in the array's own precision; making it an integer truncates. */
export function scaleOf({ dtype }: ImageArray): (value: number) => number {
  if (dtype === 'float16') return value => halfOf(255 * value)
  return dtype === 'float32' ? value => Math.fround(255 * value) : value => 255 * value
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
