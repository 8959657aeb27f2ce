import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import pLimit from 'p-limit'
import { Piscina } from 'piscina'
import type { ObservationImage } from '../../contract/observation.js'
import { TurboPiError } from '../../errors.js'
import type { Wanted } from '../policy.js'
import { decodeFile } from './file.js'
import { announcedSize, type Size } from './header.js'
import { type ImageArray, layoutOf, shapeOf, toRgb } from './pixels.js'
import type { ResizeMethod } from './resize.js'
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

/** Pixels of a picture that is larger than those of cameras. */
const LARGE = 2 ** 21
const CORES = availableParallelism()

// Every further image only takes the processor from the thread that serves; one above the cores keeps them busy.
const atWork = pLimit(CORES + 1)
// Large ones leave cores to everybody else's.
const largeAtWork = pLimit(Math.max(1, CORES >> 1))

/**
 * Turns images into what the network takes: 8-bit RGB [size, size, 3]. Files are decoded off the main thread, those of another
 * size in a worker thread, which changes the size. Close it when done.
 */
export class ImageDecoder {
  readonly #options: ImageDecoderOptions
  #pool: Piscina<ResizeTask, Uint8Array | string> | undefined

  constructor(options: ImageDecoderOptions) {
    this.#options = options
  }

  /**
   * Pixels that `decode` would go through, told in microseconds. Throws IMAGE_INVALID or IMAGE_TOO_LARGE for what can be
   * refused by its first bytes or its shape.
   */
  pixels(image: ObservationImage, place: ImagePlace): number {
    const { width, height } =
      image.kind === 'encoded' ? this.#announced(image.bytes, place) : this.#checked(image, place)
    return width * height
  }

  /** Throws IMAGE_INVALID or IMAGE_TOO_LARGE, with the image's pointer, or what `wanted` throws before the work is begun. */
  async decode(image: ObservationImage, place: ImagePlace, wanted?: Wanted): Promise<Uint8Array> {
    const { size } = this.#options
    if (image.kind === 'encoded') {
      const announced = this.#announced(image.bytes, place)
      return laneOf(announced)(async () => {
        wanted?.throwIfAborted()
        // A view would be posted together with the whole frame that it lies in.
        if (announced.width !== size || announced.height !== size)
          return this.#resize({ file: image.bytes.slice(), announced }, place)
        const rgb = await decodeFile(image.bytes, announced)
        if (typeof rgb === 'string') throw refuse('IMAGE_INVALID', place, rgb)
        return rgb.pixels
      })
    }
    const checked = this.#checked(image, place)
    const { width, height, layout } = checked
    if (image.kind === 'array' && width === size && height === size) return toRgb(image, layout)!.pixels
    return laneOf(checked)(() => {
      wanted?.throwIfAborted()
      return this.#resize({ array: ownCopy(image), layout }, place)
    })
  }

  async close(): Promise<void> {
    await this.#pool?.destroy()
    this.#pool = undefined
  }

  /** The size of a raw image that may be used. */
  #checked(image: ImageArray, place: ImagePlace) {
    const shape = shapeOf(image)
    const layout = layoutOf(shape, place.layout)
    if (!layout)
      throw refuse(
        'IMAGE_INVALID',
        place,
        `must have shape [height, width, 3] or [3, height, width], got [${shape.join(', ')}]`,
      )
    const [height, width] = (layout === 'chw' ? shape.slice(1) : shape) as [number, number]
    this.#checkSize({ width, height }, place)
    if (image.kind === 'array' && image.data.length !== width * height * 3)
      throw refuse(
        'IMAGE_INVALID',
        place,
        `must hold ${width * height * 3} values for its shape, got ${image.data.length}`,
      )
    return { width, height, layout }
  }

  /** The size of a file that may be decoded. */
  #announced(bytes: Uint8Array, place: ImagePlace): Size {
    const size = announcedSize(bytes)
    if (size === null) throw refuse('IMAGE_INVALID', place, 'is not a JPEG, PNG or WebP file')
    if (!size)
      throw refuse('IMAGE_INVALID', place, 'could not be decoded: its header is cut short or damaged')
    this.#checkSize(size, place)
    return size
  }

  #checkSize({ width, height }: Size, place: ImagePlace): void {
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

  async #resize(image: ResizeTask['image'], place: ImagePlace): Promise<Uint8Array> {
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
      // One file is decoded, by a thread of Node.js' own, while another is resized.
      concurrentTasksPerWorker: 2,
      idleTimeout: 60_000,
    })
    const pixels = await this.#pool.run({ image, size: this.#options.size, method: this.#options.resize })
    if (typeof pixels === 'string') throw refuse('IMAGE_INVALID', place, pixels)
    return pixels
  }
}

const laneOf = ({ width, height }: Size) => (width * height > LARGE ? largeAtWork : atWork)

/** A view would be posted together with the whole frame that it lies in. */
const ownCopy = (image: ImageArray): ImageArray =>
  image.kind === 'array'
    ? { ...image, data: image.data.slice() }
    : { ...image, array: { ...image.array, data: image.array.data.slice() } }

const refuse = (code: 'IMAGE_INVALID' | 'IMAGE_TOO_LARGE', { pointer }: ImagePlace, detail: string) =>
  new TurboPiError(code, `${pointer} ${detail}`, { fields: [{ pointer, detail }] })
