import { checkConsistent, type GemmaConfig, type ModelConfig, releasedConfig } from '../config.js'
import { jaxModelType, type Leaves } from './leaves.js'

/** The sizes of an openpi JAX checkpoint, all of which its parameters' shapes tell. Throws CHECKPOINT_INVALID. */
export function jaxModelConfig(leaves: Leaves, path: string): ModelConfig {
  const shape = (leaf: string) => leaves.get(leaf)!.shape as [number, ...number[]] & number[]
  const block = 'PaliGemma/img/Transformer/encoderblock'
  const [depth, width, heads] = shape(`${block}/MultiHeadDotProductAttention_0/query/kernel`) as number[]
  const [patch] = shape('PaliGemma/img/embedding/kernel')
  const released = releasedConfig(jaxModelType(leaves))
  const config: ModelConfig = {
    ...released,
    actionDim: shape('action_in_proj/kernel')[0],
    vocabSize: shape('PaliGemma/llm/embedder/input_embedding')[0],
    vision: {
      ...released.vision,
      ...{ width: width!, depth: depth!, heads: heads!, patch },
      mlpDim: shape(`${block}/MlpBlock_0/Dense_0/kernel`)[2]!,
      imageSize: Math.sqrt(shape('PaliGemma/img/pos_embedding')[1]!) * patch,
    },
    prefix: gemma(shape, ''),
    expert: gemma(shape, '_1'),
  }
  checkConsistent(config, path)
  return config
}

function gemma(shape: (leaf: string) => readonly number[], suffix: string): GemmaConfig {
  const layers = 'PaliGemma/llm/layers'
  const [depth, heads, width, headDim] = shape(`${layers}/attn/q_einsum${suffix}/w`) as [
    number,
    number,
    number,
    number,
  ]
  return {
    ...{ width, depth, heads, headDim },
    mlpDim: shape(`${layers}/mlp${suffix}/linear`)[1]!,
    kvHeads: shape(`${layers}/attn/kv_einsum${suffix}/w`)[2]!,
  }
}
