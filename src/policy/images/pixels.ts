import type { ObservationImage } from '../../contract/observation.js'
import type { RgbImage } from './resize.js'

/** Raw values of an image of shape [h, w, 3] or [3, h, w]; floats are in 0…1. */
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
  const bytes = image.data instanceof Uint8Array ? image.data : quantise(image.data)
  return { width, height, pixels: layout === 'chw' ? interleave(bytes, width * height) : bytes }
}

function quantise(values: Float32Array | Float64Array): Uint8Array {
  const single = values instanceof Float32Array
  const bytes = new Uint8Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const scaled = 255 * (values[i] as number)
    bytes[i] = Math.max(0, Math.min(255, single ? Math.fround(scaled) : scaled))
  }
  return bytes
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
