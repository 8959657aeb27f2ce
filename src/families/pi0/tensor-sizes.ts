import { TurboPiError } from '../../errors.js'
import type { TensorStore } from '../../storage/tensor-source.js'
import { checkConsistent, type GemmaConfig, type ModelConfig, releasedConfig } from './config.js'
import { canonicalName, EMBEDDING, EXPERT, PREFIX, TIED_EMBEDDING, VISION } from './tensors.js'

/**
 * The sizes of a checkpoint without a config.json, as openpi's `train_pytorch.py` leaves it, from its tensors' shapes. What
 * shapes do not tell is what every config of openpi has: one key/value head, and the heads of its one vision tower.
 * Throws CHECKPOINT_INVALID.
 */
export function sizesFromTensors(store: TensorStore): ModelConfig {
  const shapes = new Map([...store.tensors].map(([name, { shape }]) => [canonicalName(name), shape]))
  const shape = (...names: string[]): readonly number[] => {
    for (const name of names) if (shapes.has(name)) return shapes.get(name)!
    throw new TurboPiError(
      'CHECKPOINT_INVALID',
      `${store.path}: there is no tensor ${names[0]}, and no config.json beside it`,
    )
  }
  const layers = (root: string) => {
    const found = [...shapes.keys()].filter(name => name.startsWith(`${root}.layers.`))
    return new Set(found.map(name => name.slice(root.length).split('.')[2])).size
  }
  const gemma = (root: string): GemmaConfig => {
    const first = `${root}.layers.0`
    const [queries, width] = shape(`${first}.self_attn.q_proj.weight`) as [number, number]
    const headDim = shape(`${first}.self_attn.k_proj.weight`)[0]!
    return {
      ...{ width, headDim, kvHeads: 1 },
      depth: layers(root),
      heads: queries / headDim,
      mlpDim: shape(`${first}.mlp.gate_proj.weight`)[0]!,
    }
  }
  const released = releasedConfig(shapes.has('time_mlp_in.weight') ? 'pi05' : 'pi0')
  const [width, , patch] = shape(`${VISION}.embeddings.patch_embedding.weight`) as [number, number, number]
  const places = shape(`${VISION}.embeddings.position_embedding.weight`)[0]!
  const config: ModelConfig = {
    ...released,
    actionDim: shape('action_in_proj.weight')[1]!,
    vocabSize: shape(EMBEDDING, TIED_EMBEDDING)[0]!,
    vision: {
      ...released.vision,
      ...{ width, patch },
      depth: layers(`${VISION}.encoder`),
      mlpDim: shape(`${VISION}.encoder.layers.0.mlp.fc1.weight`)[0]!,
      imageSize: Math.sqrt(places) * patch,
    },
    prefix: gemma(PREFIX),
    expert: gemma(EXPERT),
  }
  checkConsistent(config, store.path)
  return config
}
