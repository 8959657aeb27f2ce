import { EXPERT, PREFIX, PROJECTOR, TIED_EMBEDDING, VISION } from '../tensors.js'
import type { Arrangement } from './arrangement.js'

/** One parameter of openpi's JAX model and the tensors of ours that it holds. */
export interface Parameter {
  /** Its path below `params`. */
  leaf: string
  /** Tensors that it holds, one for each index of its axes after the layer's; `{l}` stands for the layer. */
  names: readonly string[]
  /** Its first axis is the layer. */
  stacked: boolean
  arrangement: Arrangement
}

const VECTOR: Arrangement = { kind: 'vector' }
const TABLE: Arrangement = { kind: 'table' }
const matrix = (batch: number, rows: number): Arrangement => ({ kind: 'matrix', batch, rows })

type Make = (leaf: string, name: string, arrangement: Arrangement) => Parameter

const single: Make = (leaf, name, arrangement) => ({
  leaf,
  names: [name],
  stacked: false,
  arrangement,
})
const layered = (leaf: string, names: string | readonly string[], arrangement: Arrangement): Parameter => ({
  leaf,
  names: [names].flat(),
  stacked: true,
  arrangement,
})

/** A dense layer of flax: kernel [inputs, outputs] and bias. */
const dense = (leaf: string, name: string, make: Make = single): Parameter[] => [
  make(`${leaf}/kernel`, `${name}.weight`, matrix(0, 1)),
  make(`${leaf}/bias`, `${name}.bias`, VECTOR),
]

const layerNorm = (leaf: string, name: string, make: Make = single): Parameter[] => [
  make(`${leaf}/scale`, `${name}.weight`, VECTOR),
  make(`${leaf}/bias`, `${name}.bias`, VECTOR),
]

const BLOCK = 'PaliGemma/img/Transformer/encoderblock'
const ENCODER = `${VISION}.encoder.layers.{l}`

const vision: readonly Parameter[] = [
  single('PaliGemma/img/embedding/kernel', `${VISION}.embeddings.patch_embedding.weight`, {
    kind: 'patches',
  }),
  single('PaliGemma/img/embedding/bias', `${VISION}.embeddings.patch_embedding.bias`, VECTOR),
  // Its first axis has size 1.
  layered('PaliGemma/img/pos_embedding', `${VISION}.embeddings.position_embedding.weight`, TABLE),
  ...layerNorm(`${BLOCK}/LayerNorm_0`, `${ENCODER}.layer_norm1`, layered),
  ...layerNorm(`${BLOCK}/LayerNorm_1`, `${ENCODER}.layer_norm2`, layered),
  ...dense(`${BLOCK}/MlpBlock_0/Dense_0`, `${ENCODER}.mlp.fc1`, layered),
  ...dense(`${BLOCK}/MlpBlock_0/Dense_1`, `${ENCODER}.mlp.fc2`, layered),
  ...['query', 'key', 'value'].flatMap(part =>
    dense(`${BLOCK}/MultiHeadDotProductAttention_0/${part}`, `${ENCODER}.self_attn.${part[0]}_proj`, layered),
  ),
  layered(
    `${BLOCK}/MultiHeadDotProductAttention_0/out/kernel`,
    `${ENCODER}.self_attn.out_proj.weight`,
    matrix(0, 2),
  ),
  layered(`${BLOCK}/MultiHeadDotProductAttention_0/out/bias`, `${ENCODER}.self_attn.out_proj.bias`, VECTOR),
  ...layerNorm('PaliGemma/img/Transformer/encoder_norm', `${VISION}.post_layernorm`),
  ...dense('PaliGemma/img/head', PROJECTOR),
]

/** A Gemma's parameters; those of the action expert end in `_1` or stand below a module that does. */
function gemma(suffix: '' | '_1', root: string, adaptive: boolean): Parameter[] {
  const layers = 'PaliGemma/llm/layers'
  const layer = `${root}.layers.{l}`
  const attention = (part: string) => `${layer}.self_attn.${part}_proj.weight`
  const norm = (leaf: string, name: string, make: Make = layered): Parameter[] =>
    adaptive
      ? dense(`${leaf}/Dense_0`, `${name}.dense`, make)
      : [make(`${leaf}/scale`, `${name}.weight`, VECTOR)]
  return [
    layered(`${layers}/attn/q_einsum${suffix}/w`, attention('q'), matrix(1, 1)),
    layered(`${layers}/attn/kv_einsum${suffix}/w`, [attention('k'), attention('v')], matrix(1, 1)),
    layered(`${layers}/attn/attn_vec_einsum${suffix}/w`, attention('o'), matrix(0, 2)),
    layered(
      `${layers}/mlp${suffix}/gating_einsum`,
      [`${layer}.mlp.gate_proj.weight`, `${layer}.mlp.up_proj.weight`],
      matrix(0, 1),
    ),
    layered(`${layers}/mlp${suffix}/linear`, `${layer}.mlp.down_proj.weight`, matrix(0, 1)),
    ...norm(`${layers}/pre_attention_norm${suffix}`, `${layer}.input_layernorm`),
    ...norm(`${layers}/pre_ffw_norm${suffix}`, `${layer}.post_attention_layernorm`),
    ...norm(`PaliGemma/llm/final_norm${suffix}`, `${root}.norm`, single),
  ]
}

/** All parameters of one network (network §2.1), as openpi's converter reads them. */
export function jaxParameters(modelType: 'pi05' | 'pi0'): readonly Parameter[] {
  const heads =
    modelType === 'pi05'
      ? ['action_in_proj', 'action_out_proj', 'time_mlp_in', 'time_mlp_out']
      : ['action_in_proj', 'action_out_proj', 'state_proj', 'action_time_mlp_in', 'action_time_mlp_out']
  return [
    ...vision,
    single('PaliGemma/llm/embedder/input_embedding', TIED_EMBEDDING, TABLE),
    ...gemma('', PREFIX, false),
    ...gemma('_1', EXPERT, modelType === 'pi05'),
    ...heads.flatMap(head => dense(head, head)),
  ]
}
