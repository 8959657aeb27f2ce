import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadPolicy } from '../../src/policy/loading/load.js'
import type { Policy, PreparedObservation } from '../../src/policy/policy.js'
import { Safetensors, type TensorToWrite, writeSafetensors } from '../../src/storage/safetensors.js'
import { repositoryPath } from '../support/served-policy.js'

const TABLETOP = repositoryPath('policies/tabletop')
const PREFIX_LAYERS = 'paligemma_with_expert.paligemma.model.language_model.layers'
const EXPERT_LAYERS = 'paligemma_with_expert.gemma_expert.model.layers'

/**
 * Ways to serve a policy wrongly that leave every tensor plausible. Each gives the tabletop policy with one fault;
 * `directory` is an empty folder that it may fill.
 */
export const MUTATIONS: Record<string, (directory: string) => Promise<Policy>> = {
  'z-score for quantile': directory => {
    const { digests: _, ...manifest } = JSON.parse(readFileSync(join(TABLETOP, 'policy.json'), 'utf8'))
    link(directory, 'config.json', 'model.safetensors', 'tokenizer.model', 'assets')
    writeFileSync(join(directory, 'policy.json'), JSON.stringify({ ...manifest, normalisation: 'zscore' }))
    return loadPolicy(directory)
  },

  'K/V of the wrong model': directory =>
    withWeights(directory, name => name.replace(PREFIX_LAYERS, EXPERT_LAYERS), /self_attn\.[kv]_proj/),

  'one layer’s weights for all': directory =>
    withWeights(
      directory,
      name => name.replace(/\.layers\.\d+\./, '.layers.0.'),
      /(language_model|gemma_expert).*\.layers\./,
    ),

  'unmasked padding': () =>
    withObservation((prepared, { model }) => {
      const tokens = new Int32Array(model.maxTokenLength)
      tokens.set(prepared.row.tokens)
      const black = new Uint8Array(model.vision.imageSize ** 2 * 3)
      const images = prepared.row.images.map(image => image ?? black)
      return { ...prepared, row: { ...prepared.row, tokens, images } }
    }),

  'swapped cameras': () =>
    withObservation(prepared => {
      const [base, wrist, ...rest] = prepared.row.images
      return { ...prepared, row: { ...prepared.row, images: [wrist!, base!, ...rest] } }
    }),
}

function link(directory: string, ...files: string[]): void {
  for (const file of files) symlinkSync(join(TABLETOP, file), join(directory, file))
}

/** The policy with other weights under the tensor names that match: those of the tensor that `source` names. */
function withWeights(directory: string, source: (name: string) => string, matching: RegExp): Promise<Policy> {
  const { digests: _, ...manifest } = JSON.parse(readFileSync(join(TABLETOP, 'policy.json'), 'utf8'))
  link(directory, 'config.json', 'tokenizer.model', 'assets')
  writeFileSync(join(directory, 'policy.json'), JSON.stringify(manifest))
  const weights = Safetensors.open(join(TABLETOP, 'model.safetensors'))
  const tensors = new Map<string, TensorToWrite>()
  let changed = 0
  for (const [name, { shape }] of weights.tensors) {
    const from = matching.test(name) ? source(name) : name
    if (from !== name) changed++
    tensors.set(name, { dtype: 'F32', shape, pieces: () => [weights.float32(from)] })
  }
  if (!changed) throw new Error(`no tensor matches ${matching}`)
  writeSafetensors(join(directory, 'model.safetensors'), tensors, weights.metadata)
  weights.close()
  return loadPolicy(directory)
}

/** The policy with a fault between pre-processing and the network. */
async function withObservation(
  change: (prepared: PreparedObservation, policy: Policy) => PreparedObservation,
): Promise<Policy> {
  const policy = await loadPolicy(TABLETOP)
  const { name, spec, model, identity, weightsPath, actionSize, jointNames, defaultSteps } = policy
  const { metadata, previousChunks, stateNames } = policy
  return {
    ...{ name, spec, model, identity, weightsPath, actionSize, jointNames, defaultSteps },
    ...{ metadata, previousChunks, stateNames },
    state: observation => policy.state(observation),
    watch: () => policy.watch(),
    pixels: observation => policy.pixels(observation),
    picture: (observation, camera) => policy.picture(observation, camera),
    prepare: async observation => change(await policy.prepare(observation), policy),
    finish: (actions, prepared) => policy.finish(actions, prepared),
    close: () => policy.close(),
  }
}
