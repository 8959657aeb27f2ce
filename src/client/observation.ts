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

/** Real-time chunking: the chunk that is being executed, for the server to continue (docs/guides/rtc.md). */
export interface RtcRequest {
  /** `chunkId` of a chunk of this connection. */
  previousChunkId: number
  /** Its rows that were executed when the observation was taken. */
  consumed: number
  /** Rows that will be executed before the answer arrives. */
  inferenceDelay: number
  /** Default guided; trained for checkpoints that were. */
  mode?: 'guided' | 'trained'
  /** First row that the previous chunk has no hold on. */
  executionHorizon?: number
  /** How its hold lets go between the two. */
  schedule?: 'zeros' | 'ones' | 'linear' | 'exp'
  /** Most that one step may correct. */
  maxGuidanceWeight?: number
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
  rtc?: RtcRequest
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
