import type { Checkpoint } from './checkpoint.js'
import type { FloatType } from './graph.js'
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

/** Side of the square blocks in which a matrix is transposed, so that both sides stay in cache. */
const TILE = 64

/** Turns checkpoint tensors into the matrices and vectors that the graphs multiply by. Everything is made on demand. */
export class Lowering {
  constructor(private readonly checkpoint: Checkpoint) {}

  /**
   * The matrix [inputs, sum of outputs] of projections that read the same input. `rmsNorm` names the weight of the
   * norm before them; its factor (1 + w) is folded into the rows (pi05-spec §6.4, §6.5).
   */
  matrix(name: string, type: FloatType, projections: readonly Projection[], rmsNorm?: string): Weight {
    const parts = projections.map(projection => {
      const [outputs, width] = this.checkpoint.entry(projection.weight).shape as [number, number]
      const [from, to] = projection.inputs ?? [0, width]
      return { ...projection, outputs, width, from, to }
    })
    const inputs = parts[0]!.to - parts[0]!.from
    const columns = parts.reduce((sum, part) => sum + part.outputs, 0)
    const make = () => {
      const packed = new Float32Array(inputs * columns)
      const factors = new Float32Array(inputs).fill(1)
      if (rmsNorm) for (const [i, w] of this.checkpoint.float32(rmsNorm).entries()) factors[i] = 1 + w
      let column = 0
      for (const { weight, outputs, width, from, scale = 1 } of parts) {
        const source = this.checkpoint.float32(weight)
        for (let o0 = 0; o0 < outputs; o0 += TILE)
          for (let i0 = 0; i0 < inputs; i0 += TILE)
            for (let i = i0; i < Math.min(i0 + TILE, inputs); i++)
              for (let o = o0; o < Math.min(o0 + TILE, outputs); o++)
                packed[i * columns + column + o] = source[o * width + from + i]! * factors[i]! * scale
        column += outputs
      }
      return packed
    }
    return once(name, type, [inputs, columns], make)
  }

  /** Vectors of the checkpoint one after another, each times its scale. */
  vector(name: string, type: FloatType, parts: readonly { tensor: string; scale?: number }[]): Weight {
    const size = parts.reduce((sum, { tensor }) => sum + this.checkpoint.entry(tensor).shape[0]!, 0)
    return once(name, type, [size], () => {
      const packed = new Float32Array(size)
      let position = 0
      for (const { tensor, scale = 1 } of parts) {
        const values = this.checkpoint.float32(tensor)
        packed.set(scale === 1 ? values : values.map(v => v * scale), position)
        position += values.length
      }
      return packed
    })
  }

  /** The token embedding times √width (pi05-spec §3.3), row by row: it is the largest tensor of all. */
  embedding(name: string, type: FloatType, tensor: string): Weight {
    const [rows, width] = this.checkpoint.entry(tensor).shape as [number, number]
    const rowsAtOnce = Math.max(1, Math.floor(2 ** 24 / width))
    const { checkpoint } = this
    const factor = Math.fround(Math.sqrt(width))
    return {
      name,
      type,
      shape: [rows, width],
      *pieces() {
        for (let row = 0; row < rows; row += rowsAtOnce) {
          const count = Math.min(rowsAtOnce, rows - row)
          yield checkpoint.float32(tensor, row * width, count * width).map(v => v * factor)
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
    return once(name, type, shape, () => make(tensor => this.checkpoint.float32(tensor)))
  }
}

function once(name: string, type: FloatType, shape: readonly number[], make: () => Float32Array): Weight {
  return {
    name,
    type,
    shape,
    *pieces() {
      yield make()
    },
  }
}
