import type { TensorSource } from '../../storage/tensor-source.js'
import type { ModelConfig } from './config.js'
import { randomValues } from './random-weights.js'
import { expectedTensors } from './tensors.js'

/** A little wider than the blocks in which matrices are packed. */
const WIDTH = 72
const GEMMA = { width: WIDTH, depth: 2, mlpDim: 80, heads: 2, kvHeads: 1, headDim: 16 }

/** A network of a config's kind with every layer that it has, small enough to be lowered in milliseconds. */
export function specimenOf(config: ModelConfig): { config: ModelConfig; tensors: TensorSource } {
  const vision = { ...config.vision, width: WIDTH, depth: 1, heads: 2, mlpDim: 80, patch: 7, imageSize: 14 }
  const small = { ...config, actionDim: 8, vocabSize: WIDTH, vision, prefix: GEMMA, expert: GEMMA }
  const shapes = expectedTensors(small)
  const tensors: TensorSource = {
    shape: name => shapes.get(name)!,
    float32: (name, first = 0, count) =>
      randomValues(name, shapes.get(name)!).slice(first, count === undefined ? undefined : first + count),
  }
  return { config: small, tensors }
}
