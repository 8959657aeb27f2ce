import { existsSync } from 'node:fs'
import { TurboPiError } from '../../errors.js'
import { Checkpoint } from '../../families/pi0/checkpoint.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import { JaxTensors } from '../../families/pi0/jax/tensors.js'
import { readStoredModel, type StoredModel } from '../../families/pi0/model-directory.js'
import { openTensors, storesOf } from '../../families/pi0/open-tensors.js'
import { PeftTensors } from '../../families/pi0/peft/tensors.js'
import type { TensorStore } from '../../storage/tensor-source.js'
import { type Checks, found } from './checklist.js'
import type { PolicyDirectory } from './directory.js'
import type { PolicyOptions, TrainingConventions } from './openpi.js'
import { checkEmbeddings, checkValues } from './weights.js'

const refuse = (detail: string) => new TurboPiError('POLICY_INVALID', detail)

/** The checkpoint: its config, and that its tensors are exactly those of that network. */
export function inspectNetwork(
  source: PolicyDirectory | undefined,
  profile: TrainingConventions | undefined,
  options: PolicyOptions,
  checks: Checks,
): ModelConfig | undefined {
  const store = checks.run('weights', [source], ({ weightsPath, adapterPath }) => {
    const store = openTensors(weightsPath, adapterPath)
    const dtypes = new Set([...store.tensors.values()].map(tensor => tensor.dtype))
    const kind =
      storesOf(store)[0] === store
        ? ''
        : store instanceof PeftTensors
          ? ', adapters merged'
          : ' of a JAX checkpoint'
    return found(store, `${store.tensors.size} tensors (${[...dtypes].join(', ')})${kind}: ${weightsPath}`)
  })
  try {
    const stored = checks.run('model config', [source, store], ({ configPath }, store) => {
      const stored = readStoredModel(store, configPath)
      const { modelType, prefix } = stored.config
      const from = stored.horizonIsKnown ? configPath : 'sizes from the tensors'
      return found(stored, `${modelType}, ${prefix.depth} layers of ${prefix.width}: ${from}`)
    })
    for (const adapter of stored?.adapters ?? []) options.onNote?.(adapter)
    checks.run('tensors', [source, stored], ({ weightsPath, adapterPath }, { config }) => {
      Checkpoint.open(weightsPath, config, adapterPath).close()
      return found(true, 'names, shapes and dtypes are those of the network')
    })
    checks.run('adapters', [source, profile, store], (source, profile, store) =>
      found(true, checkAdapters(store, source, profile)),
    )
    checks.run('embedding', [source, store, stored], ({ layout }, store) =>
      found(true, checkEmbeddings(store, layout === 'lerobot', options.deep ?? false)),
    )
    checks.run('weight values', [store, stored], store => {
      const seen = checkValues(storesOf(store), options.deep ?? false, options.onRead)
      return found(seen, `${seen} values looked at${options.deep ? '' : ' (samples; --deep takes all)'}`)
    })
    return checks.run('model type and horizon', [source, profile, stored], (source, profile, stored) => {
      const model = served(source, profile, stored)
      return found(model, `${model.modelType}, ${model.actionHorizon} rows of ${model.actionDim}`)
    })
  } finally {
    store?.close()
  }
}

/** Says what was merged. Throws POLICY_INVALID when the config trains adapters and there are none. */
function checkAdapters(
  store: TensorStore,
  { configPath, weightsPath }: PolicyDirectory,
  { name, lora }: TrainingConventions,
): string {
  if (store instanceof PeftTensors) return `${store.changed} tensors changed by ${store.directory}`
  if (store instanceof JaxTensors) {
    for (const network of ['prefix', 'expert'] as const) {
      const rank = store.adapterRanks[network]
      if (lora && rank !== lora[network])
        throw refuse(
          `${weightsPath}: ${name} trains LoRA adapters of rank ${lora[network]} in the ${network}, the checkpoint has ${rank === undefined ? 'none' : `rank ${rank}`}. Name the config that it was trained with.`,
        )
    }
    return store.adapters.join('; ') || 'none'
  }
  if (lora && !existsSync(configPath))
    throw refuse(
      `${weightsPath}: ${name} trains LoRA adapters, which openpi's converter leaves out of PyTorch weights: these would be the base model's. Give the JAX checkpoint (the folder that holds params); if the adapters were merged before the conversion, say so with a config.json that names gemma_2b and gemma_300m.`,
    )
  return 'none'
}

/** The network with the horizon and the token length that it is served with. */
function served(
  source: PolicyDirectory,
  profile: TrainingConventions,
  { config, horizonIsKnown }: StoredModel,
): ModelConfig {
  const { name, modelType, actionHorizon } = profile
  const where = horizonIsKnown ? source.configPath : source.weightsPath
  if (modelType && modelType !== config.modelType)
    throw refuse(
      `${where}: the weights are those of a ${config.modelType} model, but ${name} is for ${modelType}. Name the config that the checkpoint was trained with.`,
    )
  if (!horizonIsKnown && actionHorizon === undefined)
    throw refuse(
      `${where}: nothing there says how many rows an action chunk has. Name the config that it was trained with, or state "actionHorizon" in policy.json.`,
    )
  if (
    horizonIsKnown &&
    !profile.horizonIsExplicit &&
    (actionHorizon ?? config.actionHorizon) !== config.actionHorizon
  )
    throw refuse(
      `${where}: action_horizon is ${config.actionHorizon}, but ${name} has ${actionHorizon}. Name the config that the checkpoint was trained with, or state "actionHorizon" in a policy.json.`,
    )
  return {
    ...config,
    actionHorizon: actionHorizon ?? config.actionHorizon,
    maxTokenLength: profile.maxTokenLength ?? config.maxTokenLength,
  }
}
