/** Reads a tensor of the checkpoint by its canonical name. */
export type ReadTensor = (tensor: string) => Float32Array

/** The size to be expected of each channel of an activation, up to a common factor, told from the weights that make it. */
export type ChannelSizes = (read: ReadTensor) => Float32Array

/** A matrix in int8: its real values are matrix[i, o] · scales[o] · balance[i]. */
export interface QuantisedMatrix {
  matrix: Int8Array
  scales: Float32Array
  balance: Float32Array
}

/** Largest int8 weight; −128 is not used, so that the range is even. */
const LIMIT = 127

/**
 * Quantises a matrix [inputs, outputs], one scale an output; the matrix is overwritten. `sizes` are those of the inputs.
 *
 * Activations are quantised with one scale a token, so a channel that is far larger than the rest would take the
 * resolution of all others. Scale is therefore moved between each input channel and its weights, which is exact: the
 * channel is multiplied by √(n / s) and its weights are divided by that, where s is the size to be expected of the channel
 * and n the norm of its weights, each relative to its output's. A scale that sits in a channel and is taken back by its
 * weights cancels, and so does one that sits in an output.
 */
export function quantise(packed: Float32Array, sizes: Float32Array): QuantisedMatrix {
  const inputs = sizes.length
  const outputs = packed.length / inputs
  const row = (i: number) => packed.subarray(i * outputs, (i + 1) * outputs)
  const squares = new Float64Array(outputs)
  for (let i = 0; i < inputs; i++) addSquares(squares, row(i), sizes[i]!)
  const weightings = squares.map(square => (square ? 1 / square : 0))

  const balance = new Float32Array(inputs)
  const scales = new Float32Array(outputs)
  for (let i = 0; i < inputs; i++) {
    const weights = row(i)
    const factor = Math.sqrt(weightedNorm(weights, weightings) / sizes[i]!)
    balance[i] = factor > 0 && Number.isFinite(factor) ? factor : 1
    for (let o = 0; o < outputs; o++) {
      const value = weights[o]! / balance[i]!
      weights[o] = value
      if (Math.abs(value) > scales[o]!) scales[o] = Math.abs(value)
    }
  }
  for (let o = 0; o < outputs; o++) scales[o] = scales[o] ? scales[o]! / LIMIT : 1
  const matrix = new Int8Array(packed.length)
  for (let i = 0; i < inputs; i++)
    for (let o = 0, at = i * outputs; o < outputs; o++, at++)
      matrix[at] = Math.round(packed[at]! / scales[o]!)
  return { matrix, scales, balance }
}

function addSquares(sums: Float64Array, values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) sums[i]! += (values[i]! * factor) ** 2
}

function weightedNorm(values: Float32Array, weightings: Float64Array): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2 * weightings[i]!
  return Math.sqrt(sum)
}

/** Sizes of what an RMSNorm gives: |1 + w|. */
export const rmsNormSizes =
  (weight: string): ChannelSizes =>
  read =>
    read(weight).map(w => Math.abs(1 + w))

/** Sizes of what a LayerNorm gives: √(w² + b²). */
export const layerNormSizes =
  (norm: string): ChannelSizes =>
  read => {
    const bias = read(`${norm}.bias`)
    return read(`${norm}.weight`).map((w, i) => Math.hypot(w, bias[i]!))
  }

/** Sizes of what a projection gives for inputs of the given sizes. */
export const projectionSizes =
  (weight: string, inputs: ChannelSizes, bias?: string): ChannelSizes =>
  read => {
    const sizes = inputs(read)
    const matrix = read(weight)
    const offsets = bias ? read(bias) : undefined
    return Float32Array.from({ length: matrix.length / sizes.length }, (_, o) => {
      let sum = (offsets?.[o] ?? 0) ** 2
      for (let i = 0, at = o * sizes.length; i < sizes.length; i++, at++)
        sum += (matrix[at]! * sizes[i]!) ** 2
      return Math.sqrt(sum)
    })
  }

/** Sizes of values that every query head of a group mixes: those of key/value heads, repeated for their query heads. */
export const mixedValueSizes =
  (values: ChannelSizes, heads: number, kvHeads: number): ChannelSizes =>
  read => {
    const sizes = values(read)
    const headDim = sizes.length / kvHeads
    return Float32Array.from({ length: heads * headDim }, (_, i) => {
      const kvHead = Math.floor(Math.floor(i / headDim) / (heads / kvHeads))
      return sizes[kvHead * headDim + (i % headDim)]!
    })
  }
