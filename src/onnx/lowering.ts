import type { TensorSource } from '../storage/tensor-source.js'
import type { ElementType } from './encode.js'
import { roundOutputs } from './float8.js'
import type { FloatType } from './graph.js'
import { type ChannelSizes, type QuantisedMatrix, quantise } from './quantisation.js'
import type { Weight } from './weights-file.js'

/** One projection `y = x·Wᵀ` of a checkpoint, as part of a packed one. */
export interface Projection {
  /** Canonical name of the [outputs, inputs] tensor. */
  weight: string
  /** Factor on all its outputs. */
  scale?: number
  /** Takes only inputs [from, to). */
  inputs?: readonly [number, number]
}

/** An int8 matrix [inputs, outputs], the scale of each output, and what each input is multiplied by beforehand. */
export interface QuantisedWeight {
  matrix: Weight
  scales: Weight
  balance: Weight
}

/** Side of the square blocks in which a matrix is transposed, so that both sides stay in cache. */
const TILE = 64

/** Turns checkpoint tensors into the matrices and vectors that the graphs multiply by. Everything is made on demand. */
export class Lowering {
  constructor(private readonly tensors: TensorSource) {}

  /**
   * The matrix [inputs, sum of outputs] of projections that read the same input. `rmsNorm` names the weight of the
   * norm before them; its factor (1 + w) is folded into the rows (network §6.4, §6.5).
   */
  matrix(name: string, type: FloatType, projections: readonly Projection[], rmsNorm?: string): Weight {
    return once(name, type, this.sizeOf(projections), () => this.pack(projections, rmsNorm))
  }

  /** As `matrix`, in int8; `channelSizes` are those of the inputs after the norm. */
  quantised(
    name: string,
    projections: readonly Projection[],
    { rmsNorm, channelSizes }: { rmsNorm?: string; channelSizes: ChannelSizes },
  ): QuantisedWeight {
    const [inputs, columns] = this.sizeOf(projections)
    const make = () => {
      // What enters a product with the norm's factor folded in has channels of one size.
      const sizes = rmsNorm
        ? new Float32Array(inputs).fill(1)
        : channelSizes(tensor => this.tensors.float32(tensor))
      return quantise(this.pack(projections, rmsNorm), sizes)
    }
    // The vectors are kept for their turn, the matrix is not.
    let vectors: Pick<QuantisedMatrix, 'scales' | 'balance'> | undefined
    const vector = (part: 'scales' | 'balance', size: number) =>
      once(`${name}.${part}`, 'float32', [size], () => {
        vectors ??= make()
        return vectors[part]
      })
    return {
      matrix: once(name, 'int8', [inputs, columns], () => {
        const { matrix, scales, balance } = make()
        vectors = { scales, balance }
        return matrix
      }),
      scales: vector('scales', columns),
      balance: vector('balance', inputs),
    }
  }

  /**
   * As `matrix`, rounded to bfloat16 and then to 8-bit floats with a scale an output; held as float32, and the factors of the
   * projections are multiplied in afterwards.
   */
  float8(name: string, projections: readonly Projection[]): Weight {
    const [inputs, columns] = this.sizeOf(projections)
    return once(name, 'float32', [inputs, columns], () => {
      const unscaled = projections.map(({ scale: _, ...projection }) => projection)
      const packed = roundOutputs(this.pack(unscaled), columns)
      const factors = projections.flatMap(({ weight, scale = 1 }) =>
        new Array<number>(this.tensors.shape(weight)[0]!).fill(scale),
      )
      return factors.every(factor => factor === 1)
        ? packed
        : packed.map((v, at) => v * factors[at % columns]!)
    })
  }

  private sizeOf(projections: readonly Projection[]): [inputs: number, columns: number] {
    const shapes = projections.map(({ weight }) => this.tensors.shape(weight))
    const [from, to] = projections[0]!.inputs ?? [0, shapes[0]![1]!]
    return [to - from, shapes.reduce((sum, [outputs]) => sum + outputs!, 0)]
  }

  private pack(projections: readonly Projection[], rmsNorm?: string): Float32Array {
    const [inputs, columns] = this.sizeOf(projections)
    const packed = new Float32Array(inputs * columns)
    const factors = new Float32Array(inputs).fill(1)
    if (rmsNorm) for (const [i, w] of this.tensors.float32(rmsNorm).entries()) factors[i] = 1 + w
    let column = 0
    for (const { weight, scale = 1, inputs: range } of projections) {
      const [outputs, width] = this.tensors.shape(weight) as [number, number]
      const from = range?.[0] ?? 0
      const source = this.tensors.float32(weight)
      for (let o0 = 0; o0 < outputs; o0 += TILE)
        for (let i0 = 0; i0 < inputs; i0 += TILE)
          for (let i = i0; i < Math.min(i0 + TILE, inputs); i++)
            for (let o = o0; o < Math.min(o0 + TILE, outputs); o++)
              packed[i * columns + column + o] = source[o * width + from + i]! * factors[i]! * scale
      column += outputs
    }
    return packed
  }

  /** Vectors of the checkpoint one after another, each times its scale. */
  vector(name: string, type: FloatType, parts: readonly { tensor: string; scale?: number }[]): Weight {
    const size = parts.reduce((sum, { tensor }) => sum + this.tensors.shape(tensor)[0]!, 0)
    return once(name, type, [size], () => {
      const packed = new Float32Array(size)
      let position = 0
      for (const { tensor, scale = 1 } of parts) {
        const values = this.tensors.float32(tensor)
        packed.set(scale === 1 ? values : values.map(v => v * scale), position)
        position += values.length
      }
      return packed
    })
  }

  /** The factor 1 + w of an RMSNorm, where it is not in the matrix after it. */
  normFactor(rmsNorm: string): Weight {
    const [size] = this.tensors.shape(rmsNorm) as [number]
    return once(`${rmsNorm}.factor`, 'float32', [size], () => this.tensors.float32(rmsNorm).map(w => 1 + w))
  }

  /** The token embedding times √width (network §3.3), row by row: it is the largest tensor of all. */
  embedding(name: string, type: FloatType, tensor: string): Weight {
    const [rows, width] = this.tensors.shape(tensor) as [number, number]
    const rowsAtOnce = Math.max(1, Math.floor(2 ** 24 / width))
    const { tensors } = this
    const factor = Math.fround(Math.sqrt(width))
    return {
      name,
      type,
      shape: [rows, width],
      *pieces() {
        for (let row = 0; row < rows; row += rowsAtOnce) {
          const count = Math.min(rowsAtOnce, rows - row)
          yield tensors.float32(tensor, row * width, count * width).map(v => v * factor)
        }
      },
    }
  }

  /** Anything that is computed from whole tensors. */
  computed(
    name: string,
    type: FloatType,
    shape: readonly number[],
    make: (read: (tensor: string) => Float32Array) => Float32Array,
  ): Weight {
    return once(name, type, shape, () => make(tensor => this.tensors.float32(tensor)))
  }
}

function once(
  name: string,
  type: ElementType,
  shape: readonly number[],
  make: () => Float32Array | Int8Array,
): Weight {
  return {
    name,
    type,
    shape,
    *pieces() {
      yield make()
    },
  }
}
