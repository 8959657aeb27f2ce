import type { GuardFinding } from '../../contract/guard.js'
import type { ObservationImage } from '../../contract/observation.js'

/** A camera that has shown the same picture for so many seconds, in observations one after another, is frozen. */
export const FROZEN_SECONDS = 2

/** Brightness, of 255, that no pixel of a black picture passes. */
export const BLACK = 8

const SAMPLES = 512

const bytesOf = (image: ObservationImage): Uint8Array => {
  const { buffer, byteOffset, byteLength } = image.kind === 'encoded' ? image.bytes : image.data
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** Sampled bytes of a picture: a sensor's noise, and a codec's, change some of them in every frame. */
function sampled(image: ObservationImage): Uint8Array {
  const bytes = bytesOf(image)
  const count = Math.min(SAMPLES, bytes.length)
  return Uint8Array.from({ length: count }, (_, i) => bytes[Math.floor((bytes.length * i) / count)]!)
}

/** Watches the cameras of one robot for pictures that no longer change. */
export class FrozenCameras {
  readonly #shown = new Map<string, { bytes: Uint8Array; since: number }>()

  /** `at` is in milliseconds of a clock that never goes back. */
  see(images: Readonly<Record<string, ObservationImage>>, at: number): GuardFinding[] {
    const findings: GuardFinding[] = []
    for (const [camera, image] of Object.entries(images)) {
      const bytes = sampled(image)
      const shown = this.#shown.get(camera)
      if (!shown || Buffer.compare(shown.bytes, bytes) !== 0) {
        this.#shown.set(camera, { bytes, since: at })
        continue
      }
      const value = (at - shown.since) / 1000
      if (value >= FROZEN_SECONDS)
        findings.push({ kind: 'camera_frozen', joint: camera, row: null, value, limit: FROZEN_SECONDS })
    }
    return findings
  }
}

/** A decoded picture without light. */
export function blackCamera(camera: string, pixels: Uint8Array): GuardFinding | undefined {
  let brightest = 0
  // A stride that is no multiple of 3 meets every colour.
  const stride = Math.max(1, Math.floor(pixels.length / SAMPLES)) | 1
  for (let i = 0; i < pixels.length && brightest <= BLACK; i += stride)
    brightest = Math.max(brightest, pixels[i]!)
  if (brightest > BLACK) return undefined
  return { kind: 'camera_black', joint: camera, row: null, value: brightest, limit: BLACK }
}
