import { type MsgpackValue, NdArray } from '../contract/numpy.js'

/** What the policy takes: the keys of GET /metadata's observation, images as `rgbImage` or as the bytes of a JPEG file. */
export type ClientObservation = Readonly<Record<string, MsgpackValue>>

/** Pixels as the server takes them: row-major RGB, 8 bits. */
export function rgbImage(pixels: Uint8Array, width: number, height: number): NdArray {
  if (pixels.byteLength !== width * height * 3) {
    throw new RangeError(
      `An image of ${width} × ${height} has ${width * height * 3} bytes, got ${pixels.byteLength}.`,
    )
  }
  return new NdArray('|u1', [height, width, 3], pixels)
}

/** Options of one observation. */
export interface ObserveOptions {
  /** Denoise steps, 1…50. */
  numSteps?: number
  /** 32-bit unsigned; drawn at random when absent. */
  seed?: number
  /** Explicit noise [actionHorizon, actionDim], row-major, instead of a seed. */
  noise?: Float32Array
  /** Milliseconds from the capture after which an answer is of no use. */
  deadlineMs?: number
  /** When the sensors were read, on the clock of performance.now(); now, when absent. */
  capturedAt?: number
  /** Ends the call with the signal's reason. */
  signal?: AbortSignal
}

/** An observation with the time of its capture. */
export interface Observed {
  readonly observation: ClientObservation
  readonly options: ObserveOptions
  readonly capturedAt: number
}
