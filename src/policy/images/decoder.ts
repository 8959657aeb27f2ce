import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import pLimit from 'p-limit'
import { Piscina } from 'piscina'
import sharp from 'sharp'
import type { ObservationImage } from '../../contract/observation.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import type { Wanted } from '../policy.js'
import { type ImageArray, layoutOf, scaleOf, toRgb } from './pixels.js'
import type { ResizeMethod, RgbImage } from './resize.js'
import type { ResizeTask } from './resize-worker.js'

export interface ImageDecoderOptions {
  /** Side of the network's square images in pixels. */
  size: number
  /** Pixels that one image may have, checked before it is decoded. */
  maxPixels: number
  resize: ResizeMethod
}

/** Where an image stands in the observation, for messages and layouts. */
export interface ImagePlace {
  /** RFC 6901 pointer. */
  pointer: string
  layout: 'hwc' | 'chw'
}

// Every further image only takes the processor from the thread that serves; one above the cores keeps them busy.
const atWork = pLimit(availableParallelism() + 1)

/**
 * Turns images into what the network takes: 8-bit RGB [size, size, 3]. Files are decoded off the main thread as Pillow's
 * convert('RGB') would (alpha dropped, EXIF orientation and colour profiles not applied); sizes are changed in a worker
 * thread. Close it when done.
 */
export class ImageDecoder {
  readonly #options: ImageDecoderOptions
  #pool: Piscina<ResizeTask, Uint8Array> | undefined

  constructor(options: ImageDecoderOptions) {
    this.#options = options
  }

  /** Throws IMAGE_INVALID or IMAGE_TOO_LARGE, with the image's pointer, or what `wanted` throws before the work is begun. */
  async decode(image: ObservationImage, place: ImagePlace, wanted?: Wanted): Promise<Uint8Array> {
    const { size } = this.#options
    if (image.kind === 'array') {
      const { width, height, layout } = this.#checked(image, place)
      if (width === size && height === size) return toRgb(image, layout).pixels
      return atWork(() => {
        wanted?.throwIfAborted()
        // A view would be posted together with the whole frame that it lies in.
        return this.#resize({ array: { ...image, data: image.data.slice() } as ImageArray, layout })
      })
    }
    return atWork(async () => {
      wanted?.throwIfAborted()
      const rgb = await this.#file(image.bytes, place)
      if (rgb.width === size && rgb.height === size) return rgb.pixels
      wanted?.throwIfAborted()
      return this.#resize(rgb)
    })
  }

  async close(): Promise<void> {
    await this.#pool?.destroy()
    this.#pool = undefined
  }

  /** The size of a raw image that may be used. */
  #checked(image: ImageArray, place: ImagePlace) {
    const layout = layoutOf(image.shape, place.layout)
    if (!layout)
      throw refuse(
        'IMAGE_INVALID',
        place,
        `must have shape [height, width, 3] or [3, height, width], got [${image.shape.join(', ')}]`,
      )
    const [height, width] = (layout === 'chw' ? image.shape.slice(1) : image.shape) as [number, number]
    this.#checkSize(width, height, place)
    if (image.data.length !== width * height * 3)
      throw refuse(
        'IMAGE_INVALID',
        place,
        `must hold ${width * height * 3} values for its shape, got ${image.data.length}`,
      )
    // A hair outside 0…1 is a rounding error, which NumPy cuts off.
    const scale = scaleOf(image)
    const fits = (value: number) => scale(value) > -1 && scale(value) < 256
    if (!(image.data instanceof Uint8Array) && !image.data.every(fits))
      throw refuse(
        'IMAGE_INVALID',
        place,
        'is an array of floats, which must lie in 0…1; send 0…255 as uint8',
      )
    return { width, height, layout }
  }

  async #file(bytes: Uint8Array, place: ImagePlace): Promise<RgbImage> {
    if (!isKnownFormat(bytes)) throw refuse('IMAGE_INVALID', place, 'is not a JPEG, PNG or WebP file')
    try {
      const file = sharp(bytes, { failOn: 'error', limitInputPixels: false, ignoreIcc: true })
      const { width, height, space, depth } = await file.metadata()
      this.#checkSize(width, height, place)
      if (space === 'cmyk')
        throw refuse(
          'IMAGE_INVALID',
          place,
          'is a CMYK image; send RGB, the conversion would depend on a colour profile',
        )
      if (depth !== 'uchar')
        throw refuse('IMAGE_INVALID', place, `has ${depth} samples; send 8 bits a channel`)
      const { data, info } = await file
        .removeAlpha()
        .toColourspace('srgb')
        .raw()
        .toBuffer({ resolveWithObject: true })
      if (info.channels !== 3) throw new Error(`it decodes to ${info.channels} channels`)
      return { pixels: data, width: info.width, height: info.height }
    } catch (error) {
      if (error instanceof TurboPiError) throw error
      throw refuse('IMAGE_INVALID', place, `could not be decoded: ${reasonOf(error).replaceAll(/\s+/g, ' ')}`)
    }
  }

  #checkSize(width: number, height: number, place: ImagePlace): void {
    const { maxPixels } = this.#options
    if (!(width > 0 && height > 0)) throw refuse('IMAGE_INVALID', place, `is empty (${width} × ${height})`)
    if (width * height > maxPixels)
      throw refuse(
        'IMAGE_TOO_LARGE',
        place,
        `has ${width} × ${height} pixels; at most ${maxPixels} in all are accepted`,
      )
    const longer = Math.max(width, height)
    if (Math.min(width, height) * this.#options.size < longer)
      throw refuse('IMAGE_INVALID', place, `of ${width} × ${height} is too narrow to be fitted into a square`)
  }

  #resize(image: ResizeTask['image']): Promise<Uint8Array> {
    this.#pool ??= new Piscina({
      // The same file beside this one: .ts under a loader, .js when built.
      filename: fileURLToPath(
        new URL(
          import.meta.url.endsWith('.ts') ? './resize-worker.ts' : './resize-worker.js',
          import.meta.url,
        ),
      ),
      minThreads: 1,
      maxThreads: 2,
      idleTimeout: 60_000,
    })
    return this.#pool.run({ image, size: this.#options.size, method: this.#options.resize })
  }
}

/** Only these formats reach the decoder: others (SVG, TIFF, PDF …) are attack surface, not cameras. */
function isKnownFormat(bytes: Uint8Array): boolean {
  const head = Buffer.from(bytes.subarray(0, 12)).toString('latin1')
  return (
    head.startsWith('\xff\xd8\xff') ||
    head.startsWith('\x89PNG\r\n\x1a\n') ||
    (head.startsWith('RIFF') && head.slice(8) === 'WEBP')
  )
}

const refuse = (code: 'IMAGE_INVALID' | 'IMAGE_TOO_LARGE', { pointer }: ImagePlace, detail: string) =>
  new TurboPiError(code, `${pointer} ${detail}`, { fields: [{ pointer, detail }] })
