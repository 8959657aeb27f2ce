import type { GemmaConfig, ModelConfig } from './config.js'
import { variantOf } from './variant.js'

/** Prefixes of the canonical names: those of an openpi checkpoint (network §2.1). */
export const VISION = 'paligemma_with_expert.paligemma.model.vision_tower.vision_model'
export const PROJECTOR = 'paligemma_with_expert.paligemma.model.multi_modal_projector.linear'
export const PREFIX = 'paligemma_with_expert.paligemma.model.language_model'
export const EXPERT = 'paligemma_with_expert.gemma_expert.model'
export const EMBEDDING = `${PREFIX}.embed_tokens.weight`

/** The only name of the embedding in files where it is tied to the output layer. */
export const TIED_EMBEDDING = 'paligemma_with_expert.paligemma.lm_head.weight'
/** Present in files and never used for actions. */
export const UNUSED: ReadonlySet<string> = new Set([
  'paligemma_with_expert.gemma_expert.lm_head.weight',
  `${PREFIX}.norm.weight`,
  TIED_EMBEDDING,
])
const ROOTS = ['paligemma_with_expert.', 'action_', 'time_mlp_', 'state_proj', 'proprio_history_proj']
/** A root of a name, behind a whole part of it. */
const WRAPPED = /(?<=\.)(?:model\.)?(?:paligemma_with_expert\.|action_|time_mlp_|state_proj)/
const FLAT_VISION = 'paligemma_with_expert.paligemma.model.vision_tower.'

/**
 * The canonical name of a tensor in a file: without LeRobot's leading `model.`, and with the `vision_model` level that
 * transformers ≥ 5.6 leaves out (network §2.2).
 */
export function canonicalName(name: string): string {
  const bare =
    name.startsWith('model.') && ROOTS.some(root => name.startsWith(root, 6)) ? name.slice(6) : name
  return bare.startsWith(FLAT_VISION) && !bare.startsWith(`${VISION}.`)
    ? `${VISION}.${bare.slice(FLAT_VISION.length)}`
    : bare
}

/** What a wrapper of the network, for training or compiling, put before every name of a file; undefined without one. */
export function wrapperPrefix(names: Iterable<string>): string | undefined {
  const all = [...names]
  const at = all[0] === undefined ? -1 : canonicalName(all[0]).search(WRAPPED)
  const prefix = at > 0 ? canonicalName(all[0]!).slice(0, at) : undefined
  return prefix !== undefined && all.every(name => name.startsWith(prefix)) ? prefix : undefined
}

type Shapes = Map<string, readonly number[]>

function addLinear(shapes: Shapes, name: string, outputs: number, inputs: number): void {
  shapes.set(`${name}.weight`, [outputs, inputs]).set(`${name}.bias`, [outputs])
}

function addGemmaLayers(shapes: Shapes, root: string, gemma: GemmaConfig, adaptiveNorms: boolean): void {
  const { width, mlpDim, heads, kvHeads, headDim } = gemma
  for (let l = 0; l < gemma.depth; l++) {
    const layer = `${root}.layers.${l}`
    shapes
      .set(`${layer}.self_attn.q_proj.weight`, [heads * headDim, width])
      .set(`${layer}.self_attn.k_proj.weight`, [kvHeads * headDim, width])
      .set(`${layer}.self_attn.v_proj.weight`, [kvHeads * headDim, width])
      .set(`${layer}.self_attn.o_proj.weight`, [width, heads * headDim])
      .set(`${layer}.mlp.gate_proj.weight`, [mlpDim, width])
      .set(`${layer}.mlp.up_proj.weight`, [mlpDim, width])
      .set(`${layer}.mlp.down_proj.weight`, [width, mlpDim])
    for (const norm of ['input_layernorm', 'post_attention_layernorm'])
      addNorm(shapes, `${layer}.${norm}`, width, adaptiveNorms)
  }
}

function addNorm(shapes: Shapes, name: string, width: number, adaptive: boolean): void {
  if (adaptive) addLinear(shapes, `${name}.dense`, 3 * width, width)
  else shapes.set(`${name}.weight`, [width])
}

/** Every tensor that the network uses, by canonical name, with its shape (network §2.1). */
export function expectedTensors(config: ModelConfig): ReadonlyMap<string, readonly number[]> {
  const { vision, prefix, expert, actionDim } = config
  const { adaptiveNorms: adaptive, stateToken } = variantOf(config)
  const shapes: Shapes = new Map()
  shapes
    .set(`${VISION}.embeddings.patch_embedding.weight`, [vision.width, 3, vision.patch, vision.patch])
    .set(`${VISION}.embeddings.patch_embedding.bias`, [vision.width])
    .set(`${VISION}.embeddings.position_embedding.weight`, [
      (vision.imageSize / vision.patch) ** 2,
      vision.width,
    ])
  for (let l = 0; l < vision.depth; l++) {
    const layer = `${VISION}.encoder.layers.${l}`
    for (const norm of ['layer_norm1', 'layer_norm2'])
      shapes.set(`${layer}.${norm}.weight`, [vision.width]).set(`${layer}.${norm}.bias`, [vision.width])
    for (const projection of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
      addLinear(shapes, `${layer}.self_attn.${projection}`, vision.width, vision.width)
    addLinear(shapes, `${layer}.mlp.fc1`, vision.mlpDim, vision.width)
    addLinear(shapes, `${layer}.mlp.fc2`, vision.width, vision.mlpDim)
  }
  shapes
    .set(`${VISION}.post_layernorm.weight`, [vision.width])
    .set(`${VISION}.post_layernorm.bias`, [vision.width])
  addLinear(shapes, PROJECTOR, prefix.width, vision.width)
  shapes.set(EMBEDDING, [config.vocabSize, prefix.width])
  addGemmaLayers(shapes, PREFIX, prefix, false)
  addGemmaLayers(shapes, EXPERT, expert, adaptive)
  addNorm(shapes, `${EXPERT}.norm`, expert.width, adaptive)
  addLinear(shapes, 'action_in_proj', expert.width, actionDim)
  addLinear(shapes, 'action_out_proj', actionDim, expert.width)
  if (stateToken) addLinear(shapes, 'state_proj', expert.width, actionDim)
  if (adaptive) {
    addLinear(shapes, 'time_mlp_in', expert.width, expert.width)
    addLinear(shapes, 'time_mlp_out', expert.width, expert.width)
  } else {
    addLinear(shapes, 'action_time_mlp_in', expert.width, 2 * expert.width)
    addLinear(shapes, 'action_time_mlp_out', expert.width, expert.width)
  }
  return shapes
}
