import { decodeFile } from './file.js'
import type { Size } from './header.js'
import { type ImageArray, toRgb } from './pixels.js'
import { type ResizeMethod, type RgbImage, resizeWithPad } from './resize.js'

/** Work for a resize thread: a file still to be decoded, or an array still to be turned into pixels. */
export interface ResizeTask {
  image: { file: Uint8Array; announced: Size } | { array: ImageArray; layout: 'hwc' | 'chw' }
  size: number
  method: ResizeMethod
}

const NOT_IN_RANGE = 'is an array of floats, which must lie in 0…1; send 0…255 as uint8'

/**
 * The pixels of the square, or what is wrong with the image, in words. Runs in a worker thread, so that the event loop never waits for
 * a large picture, and what a file decodes to is in memory once: it is never posted.
 */
export default async function resize({ image, size, method }: ResizeTask): Promise<Uint8Array | string> {
  const rgb = await rgbOf(image)
  return typeof rgb === 'string' ? rgb : resizeWithPad(rgb, size, method)
}

const rgbOf = (image: ResizeTask['image']): Promise<RgbImage | string> | RgbImage | string =>
  'file' in image
    ? decodeFile(image.file, image.announced)
    : (toRgb(image.array, image.layout) ?? NOT_IN_RANGE)
