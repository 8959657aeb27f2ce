import type { Content } from './content.js'

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
