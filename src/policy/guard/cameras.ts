import type { GuardFinding } from '../../contract/guard.js'
import { type ObservationImage, payloadOf } from '../../contract/observation.js'

/** A camera that has shown the same picture for so many seconds, in observations one after another, is frozen. */
export const FROZEN_SECONDS = 2

/** Brightness, of 255, that no pixel of a black picture passes. */
export const BLACK = 8

/** Bytes of a picture that are compared where it looks like the one before, and those that tell whether it does. */
const SAMPLES = 512
const GLANCES = 4

/** Milliseconds between two looks at all samples: often enough for what is told after seconds. */
const LOOK_EVERY = 100

/** Takes `into.length` bytes spread over `bytes`, and tells whether they are those of the call before. */
function sameSamples(bytes: Uint8Array, into: Uint8Array): boolean {
  let same = true
  const stride = bytes.length / into.length
  for (let i = 0; i < into.length; i += 1) {
    const byte = bytes[Math.floor(stride * i)] ?? 0
    if (byte === into[i]) continue
    same = false
    into[i] = byte
  }
  return same
}

/**
 * What a camera showed last, by sampled bytes: a sensor's noise, and a codec's, change some of them in every frame. Each
 * byte read is a miss of the processor's caches, so a few decide whether the others are looked at.
 */
class Shown {
  readonly #glance = new Uint8Array(GLANCES)
  readonly #samples = new Uint8Array(SAMPLES)
  #length = -1
  #since = 0
  /** When all samples were last looked at; undefined while none are held. */
  #looked: number | undefined

  /** Milliseconds for which the picture has been the same, up to the one seen `at`. */
  see(bytes: Uint8Array, at: number): number {
    const alike = sameSamples(bytes, this.#glance) && bytes.length === this.#length
    this.#length = bytes.length
    if (!alike) {
      this.#since = at
      this.#looked = undefined
    } else if (this.#looked === undefined || at - this.#looked >= LOOK_EVERY) {
      const changed = !sameSamples(bytes, this.#samples) && this.#looked !== undefined
      if (changed) this.#since = at
      this.#looked = at
    }
    return at - this.#since
  }
}

/** Watches the cameras of one robot for pictures that no longer change. */
export class FrozenCameras {
  readonly #shown = new Map<string, Shown>()

  /** Adds the cameras that are frozen. `at` is in milliseconds of a clock that never goes back. */
  see(images: Readonly<Record<string, ObservationImage>>, at: number, findings: GuardFinding[]): void {
    for (const [camera, image] of Object.entries(images)) {
      let shown = this.#shown.get(camera)
      if (!shown) this.#shown.set(camera, (shown = new Shown()))
      const value = shown.see(payloadOf(image), at) / 1000
      if (value >= FROZEN_SECONDS)
        findings.push({ kind: 'camera_frozen', joint: camera, row: null, value, limit: FROZEN_SECONDS })
    }
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
