import type { InferenceAnswer } from '../contract/answer.js'
import type { MarkKind } from '../contract/report.js'
import type { ServiceMetadata } from '../service/metadata.js'

/** The policy of a file. */
export interface PolicyNote
  extends Pick<
    ServiceMetadata,
    'policy' | 'model' | 'runtime' | 'observation' | 'shape' | 'joints' | 'defaultSteps'
  > {
  /** The name under which it is served. */
  served: string
}

interface Head {
  /** Unix milliseconds. */
  at: number
  session: string
  robot?: string | undefined
}

/** A picture as it came: a file, or an array of this shape and NumPy dtype. */
export interface ImageForm {
  key: string
  array?: { shape: readonly number[]; dtype: string }
}

/**
 * An observation and its chunk. Its blobs: the state's parts (float64), the pictures' bytes, the answered rows (float64), the
 * network's actions (float32), then noise and the previous chunk (float32) where there are such.
 */
export interface AnsweredHead extends Head {
  kind: 'answered'
  /** Counts the observations of a recording: the sequence number of all its messages. */
  id: number
  /** Unix milliseconds at which the observation came; `at` is when the answer left. */
  came: number
  seq?: number | undefined
  prompt?: string | undefined
  state: readonly string[]
  images: readonly ImageForm[]
  answer: Omit<InferenceAnswer, 'actions' | 'served'>
  steps: number
  noise: boolean
  continuation?: object | undefined
}

export interface FailedHead extends Head {
  kind: 'failed'
  seq?: number | undefined
  code: string
  detail: string
}

export interface ReportedHead extends Head {
  kind: 'reported'
  /** Times are Unix milliseconds. */
  executed: readonly { action: readonly number[]; at: number; seq?: number; row?: number }[]
  marks: readonly { kind: MarkKind; at: number; text?: string }[]
}

export type Handed =
  | AnsweredHead
  | FailedHead
  | ReportedHead
  | (Head & { kind: 'superseded' | 'startedOver' })
  /** Records that found no room in the ring since the last such note. */
  | { kind: 'dropped'; at: number; records: number }

export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)

/**
 * A record of the ring: the length of its head, the head as JSON with the blobs' lengths, the blobs. `series` counts the
 * beginnings of a recording, of which each has files of its own.
 */
export function packed(series: number, head: Handed, blobs: readonly Uint8Array[] = []): Uint8Array[] {
  const json = Buffer.from(JSON.stringify([series, head, blobs.map(({ length }) => length)]))
  const length = Buffer.allocUnsafe(4)
  length.writeUInt32LE(json.length)
  return [length, json, ...blobs]
}

export function unpacked(record: Uint8Array): { series: number; head: Handed; blobs: Uint8Array[] } {
  const buffer = Buffer.from(record.buffer, record.byteOffset, record.length)
  let at = 4 + buffer.readUInt32LE(0)
  const [series, head, lengths] = JSON.parse(buffer.toString('utf8', 4, at)) as [number, Handed, number[]]
  const blobs = lengths.map(length => {
    at += length
    return record.subarray(at - length, at)
  })
  return { series, head, blobs }
}

/** Blobs lie at any place: numbers get memory of their own. */
export const float64 = (blob: Uint8Array) => new Float64Array(blob.slice().buffer)
export const float32 = (blob: Uint8Array) => new Float32Array(blob.slice().buffer)
