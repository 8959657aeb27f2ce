import sharp from 'sharp'
import { NdArray } from '../contract/numpy.js'
import type { ObservationSpec } from '../contract/observation.js'
import { layoutOf, toRgb } from '../policy/images/pixels.js'
import type { Cameras } from './cameras.js'
import type { CameraImage } from './foxglove.js'
import type { ImageForm } from './handover.js'

/** Of arrays; what came as a file stays as it is. */
const JPEG = { quality: 90, chromaSubsampling: '4:4:4' } as const

/** Makes of an observation's pictures what is written. */
export class CameraEncoder {
  readonly #cameras: Cameras
  readonly #layouts: ReadonlyMap<string, 'hwc' | 'chw'>

  constructor(cameras: Cameras, spec: ObservationSpec) {
    this.#cameras = cameras
    this.#layouts = new Map(spec.cameras.map(({ key, layout }) => [key, layout]))
  }

  /** Undefined for what is left out, and for arrays that are no picture: those were never looked at. */
  async encode({ key, array }: ImageForm, bytes: Uint8Array): Promise<CameraImage | undefined> {
    if (this.#cameras === 'off') return undefined
    if (!array) return { format: formatOf(bytes), data: bytes }
    const { shape, dtype } = array
    const layout = layoutOf(shape, this.#layouts.get(key) ?? 'hwc')
    if (!layout) return undefined
    const image =
      dtype === '|u1'
        ? ({ kind: 'array', dtype: 'uint8', shape, data: bytes } as const)
        : ({ kind: 'floats', array: new NdArray(dtype, shape, bytes) } as const)
    const rgb = toRgb(image, layout)
    if (!rgb) return undefined
    const { width, height, pixels } = rgb
    if (this.#cameras === 'exact') return { format: 'rgb8', width, height, data: pixels }
    const raw = { width, height, channels: 3 } as const
    return { format: 'jpeg', data: await sharp(pixels, { raw }).jpeg(JPEG).toBuffer() }
  }
}

/** The policy takes these three alone. */
function formatOf(bytes: Uint8Array): 'jpeg' | 'png' | 'webp' {
  if (bytes[0] === 0xff) return 'jpeg'
  return bytes[0] === 0x89 ? 'png' : 'webp'
}
