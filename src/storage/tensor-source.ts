/** Named tensors, wherever and however they are stored. Names are those of the reader, not of the file. */
export interface TensorSource {
  /** Throws CHECKPOINT_INVALID when there is no such tensor. */
  shape(name: string): readonly number[]
  /** All elements in row-major order, or `count` of them from `first` on, as float32. */
  float32(name: string, first?: number, count?: number): Float32Array
}
