import { type ImageArray, toRgb } from './pixels.js'
import { type ResizeMethod, type RgbImage, resizeWithPad } from './resize.js'

/** Work for a resize thread: raw pixels, or an array still to be turned into pixels. */
export interface ResizeTask {
  image: RgbImage | { array: ImageArray; layout: 'hwc' | 'chw' }
  size: number
  method: ResizeMethod
}

/**
 * Runs in a worker thread, so that the event loop never waits for a large picture. Null for an array of floats that are not in
 * 0…1.
 */
export default function resize({ image, size, method }: ResizeTask): Uint8Array | null {
  const rgb = 'layout' in image ? toRgb(image.array, image.layout) : image
  return rgb ? resizeWithPad(rgb, size, method) : null
}
