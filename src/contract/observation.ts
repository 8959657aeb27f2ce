import type { NdArray } from './numpy.js'

/** What a policy takes, from its embodiment: the source of the observation schema, OpenAPI and /metadata. */
export interface ObservationSpec {
  /** For example `libero`. */
  embodiment: string
  cameras: readonly CameraSpec[]
  state: readonly StateSpec[]
  prompt: {
    key: string
    required: boolean
    default?: string
    /** As in LeRobot's batches, `prompt` means the same, and so does a list of one string. */
    lerobotBatch?: boolean
  }
}

export interface CameraSpec {
  /** Where it stands in the observation: `observation/image`, or `images.cam_high` for the nested ALOHA form. */
  key: string
  required: boolean
  /** The slot that it fills, for example `base_0_rgb`; null when accepted but ignored. */
  slot: string | null
  /** Layout of raw arrays when the shape does not tell (first dimension 3 means CHW). */
  layout: 'hwc' | 'chw'
  description: string
}

export interface StateSpec {
  key: string
  /** Numbers; 1 also accepts a bare scalar. */
  size: number
  description: string
}

/** An image as it arrived; arrays are row-major, of shape [h, w, 3] or [3, h, w]. */
export type ObservationImage =
  | { kind: 'encoded'; bytes: Uint8Array }
  | { kind: 'array'; dtype: 'uint8'; shape: readonly number[]; data: Uint8Array }
  /** Floats in 0…1, of any width and byte order. They become numbers where they become pixels, off the event loop. */
  | { kind: 'floats'; array: NdArray }

/** The bytes that came. */
export function payloadOf(image: ObservationImage): Uint8Array {
  if (image.kind === 'encoded') return image.bytes
  return image.kind === 'array' ? image.data : image.array.data
}

/** A validated observation, whatever wire it came over. Keys are those of the ObservationSpec. */
export interface Observation {
  images: Readonly<Record<string, ObservationImage>>
  state: Readonly<Record<string, Float64Array>>
  /** Absent when the policy's default prompt is to be used. */
  prompt?: string
}
