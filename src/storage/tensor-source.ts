import type { Content } from './content.js'
import type { Dtype } from './dtype.js'

/** Hears how much of long work is done, in its own unit. */
export type Progress = (done: number, total: number) => void

/** Named tensors, wherever and however they are stored. Names are those of the reader, not of the file. */
export interface TensorSource {
  /** Throws CHECKPOINT_INVALID when there is no such tensor. */
  shape(name: string): readonly number[]
  /** All elements in row-major order, or `count` of them from `first` on, as float32. */
  float32(name: string, first?: number, count?: number): Float32Array
}

/** The tensors of an open checkpoint. */
export interface StoredTensors extends TensorSource {
  /** The files whose bytes make the tensors: what the checkpoint's identity is taken of. */
  content(): Content
  close(): void
}

/** What is known of a tensor before it is read. */
export interface TensorInfo {
  readonly dtype: Dtype
  readonly shape: readonly number[]
}

/** Tensors as they lie in a safetensors file and its shards, or in a JAX checkpoint, or in one laid over another. */
export interface TensorStore extends StoredTensors {
  /** File or directory, for messages. */
  readonly path: string
  readonly tensors: ReadonlyMap<string, TensorInfo>
  /** Throws CHECKPOINT_INVALID when there is no such tensor. */
  entry(name: string): TensorInfo
  /** Raw little-endian bytes of `count` elements from element `first` on; all of them by default. */
  bytes(name: string, first?: number, count?: number): Uint8Array<ArrayBuffer>
  /** Elements from which on `count` can be read without reading the tensor up to there. */
  samplePlaces(name: string, count: number): readonly number[]
}
