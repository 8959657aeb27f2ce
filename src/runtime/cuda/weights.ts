import { TurboPiError } from '../../errors.js'
import type { GemmaConfig, ModelConfig } from '../../families/pi0/config.js'
import {
  canonicalName,
  EMBEDDING,
  EXPERT,
  PREFIX,
  PROJECTOR,
  TIED_EMBEDDING,
  VISION,
} from '../../families/pi0/tensors.js'
import { variantOf } from '../../families/pi0/variant.js'
import type { Dtype } from '../../storage/dtype.js'
import { elementCount, Safetensors } from '../../storage/safetensors.js'

/** A stretch of a file that the addon maps: elements of one type. */
export interface WeightPiece {
  file: string
  offset: number
  elements: number
  type: Dtype
}

/** A tensor as the CUDA stages name it: checkpoint tensors one after another, in the checkpoint's own row order. */
export interface NativeWeight {
  name: string
  pieces: WeightPiece[]
}

/** What the stages ask for, by their name for it: the checkpoint's tensors that make it up. */
export function weightNames(config: ModelConfig): Map<string, string[]> {
  const names = new Map<string, string[]>()
  const dense = (name: string, ...projections: string[]) => {
    for (const part of ['weight', 'bias'])
      names.set(
        `${name}.${part}`,
        projections.map(projection => `${projection}.${part}`),
      )
  }
  visionNames(config, dense, names)
  names.set('prefix.embedding', [EMBEDDING])
  gemmaNames(names, 'prefix', PREFIX, config.prefix, true)
  gemmaNames(names, 'expert', EXPERT, config.expert, false)
  dense('action_in', 'action_in_proj')
  dense('action_out', 'action_out_proj')
  const { adaptiveNorms, stateToken } = variantOf(config)
  const norms = expertNorms(config)
  if (adaptiveNorms) {
    dense('expert.modulation', ...norms.map(({ tensor }) => `${tensor}.dense`))
    dense('time_in', 'time_mlp_in')
    dense('time_out', 'time_mlp_out')
  } else {
    for (const { name, tensor } of norms) names.set(name, [`${tensor}.weight`])
    dense('action_time_in', 'action_time_mlp_in')
    dense('action_time_out', 'action_time_mlp_out')
  }
  if (stateToken) dense('state', 'state_proj')
  return names
}

function visionNames(
  { vision }: ModelConfig,
  dense: (name: string, ...projections: string[]) => void,
  names: Map<string, string[]>,
): void {
  dense('vision.patch', `${VISION}.embeddings.patch_embedding`)
  names.set('vision.positions', [`${VISION}.embeddings.position_embedding.weight`])
  for (let l = 0; l < vision.depth; l++) {
    const layer = `${VISION}.encoder.layers.${l}`
    dense(`vision.${l}.norm1`, `${layer}.layer_norm1`)
    dense(`vision.${l}.norm2`, `${layer}.layer_norm2`)
    dense(`vision.${l}.qkv`, ...['q', 'k', 'v'].map(part => `${layer}.self_attn.${part}_proj`))
    dense(`vision.${l}.o`, `${layer}.self_attn.out_proj`)
    dense(`vision.${l}.fc1`, `${layer}.mlp.fc1`)
    dense(`vision.${l}.fc2`, `${layer}.mlp.fc2`)
  }
  dense('vision.norm', `${VISION}.post_layernorm`)
  dense('vision.projector', PROJECTOR)
}

/** The expert's norms in the order of use: two a layer and the final one. */
function expertNorms({ expert }: ModelConfig): { name: string; tensor: string }[] {
  const layers = Array.from({ length: expert.depth }, (_, l) =>
    [
      ['norm1', 'input_layernorm'],
      ['norm2', 'post_attention_layernorm'],
    ].map(([name, tensor]) => ({ name: `expert.${l}.${name}`, tensor: `${EXPERT}.layers.${l}.${tensor}` })),
  )
  return [...layers.flat(), { name: 'expert.norm', tensor: `${EXPERT}.norm` }]
}

/** Of the prefix, norms too, and of its last layer keys and values alone: nothing else of it is used (network §6.2). */
function gemmaNames(
  names: Map<string, string[]>,
  name: 'prefix' | 'expert',
  root: string,
  { depth }: GemmaConfig,
  prefix: boolean,
): void {
  for (let l = 0; l < depth; l++) {
    const layer = `${root}.layers.${l}`
    const last = prefix && l === depth - 1
    const set = (tensor: string, ...parts: string[]) =>
      names.set(
        `${name}.${l}.${tensor}`,
        parts.map(part => `${layer}.${part}.weight`),
      )
    set('qkv', ...(last ? ['k', 'v'] : ['q', 'k', 'v']).map(part => `self_attn.${part}_proj`))
    if (prefix) set('norm1', 'input_layernorm')
    if (last) continue
    if (prefix) set('norm2', 'post_attention_layernorm')
    set('o', 'self_attn.o_proj')
    set('gate_up', 'mlp.gate_proj', 'mlp.up_proj')
    set('down', 'mlp.down_proj')
  }
}

const TYPES: readonly Dtype[] = ['F32', 'F16', 'BF16']

/**
 * Where the weights of a checkpoint, which was checked against its config, lie: the addon reads them from the checkpoint's
 * own files, so that nothing is copied to disk. Throws CHECKPOINT_INVALID for types that it does not read.
 */
export function nativeWeights(weightsPath: string, config: ModelConfig): NativeWeight[] {
  const places = placesIn(weightsPath)
  const place = (tensor: string): WeightPiece => {
    const found = places.get(tensor) ?? places.get(TIED_EMBEDDING)!
    if (TYPES.includes(found.type)) return found
    throw new TurboPiError(
      'CHECKPOINT_INVALID',
      `${found.file}: tensor ${tensor} is ${found.type}; the CUDA runtime reads ${TYPES.join(', ')}`,
    )
  }
  return [...weightNames(config)].map(([name, tensors]) => ({ name, pieces: tensors.map(place) }))
}

/** Every tensor of the checkpoint's files by canonical name. */
function placesIn(weightsPath: string): Map<string, WeightPiece> {
  const store = Safetensors.open(weightsPath)
  store.close()
  const places = new Map<string, WeightPiece>()
  for (const { path } of store.content().files.filter(({ path }) => path.endsWith('.safetensors'))) {
    const file = Safetensors.open(path)
    file.close()
    for (const [name, { offset, dtype, shape }] of file.tensors)
      places.set(canonicalName(name), {
        file: path,
        offset,
        elements: elementCount(shape),
        type: dtype,
      })
  }
  return places
}
