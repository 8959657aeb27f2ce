import { type MsgpackValue, NdArray } from '../contract/msgpack.js'
import { numbersOf } from '../contract/ndarray.js'

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

/** Actions that the robot is to take one after the other. */
export interface ActionChunk {
  /** One row an action, in the robot's action space. */
  actions: number[][]
  /** The number of the observation that it answers. */
  seq: number
  /** Milliseconds from the capture of the observation to the moment when the server sent this. */
  observationAgeMs: number
  /** When it stops being of use, on the clock of `capturedAt`; null without a deadline. */
  validUntil: number | null
  /** The deadline had passed: not to be played as if it were fresh. */
  late: boolean
  /** Repeats this answer bit for bit; null when noise was given. */
  seed: number | null
  coalesced: boolean
  /** Digest of the policy that acts. */
  model: string
  /** Milliseconds of each stage on the server. */
  serverTiming: Readonly<Record<string, number>>
}

/** Reads an `actions` message. */
export function chunkOf(message: Readonly<Record<string, unknown>>): ActionChunk {
  const array = message['actions'] as NdArray
  const [rows = 0, width = 0] = array.shape
  const numbers = numbersOf(array)
  return {
    actions: Array.from({ length: rows }, (_, row) => [...numbers.subarray(row * width, (row + 1) * width)]),
    seq: message['seq'] as number,
    observationAgeMs: message['obs_age_ms'] as number,
    validUntil: message['valid_until'] as number | null,
    late: message['late'] as boolean,
    seed: message['seed'] as number | null,
    coalesced: message['coalesced'] as boolean,
    model: message['model'] as string,
    serverTiming: message['server_timing'] as Record<string, number>,
  }
}
