import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { TurboPiError } from '../../errors.js'
import { readJson } from '../../storage/json-file.js'
import type { TensorStore } from '../../storage/tensor-source.js'
import { type ModelConfig, parseModelConfig } from './config.js'
import { jaxModelConfig } from './jax/config.js'
import { JaxTensors } from './jax/tensors.js'
import { openTensors, WEIGHTS, weightsIn } from './open-tensors.js'
import { PeftTensors } from './peft/tensors.js'
import { sizesFromTensors } from './tensor-sizes.js'
import { wrapperPrefix } from './tensors.js'

/** The network of a checkpoint, as its files say. */
export interface StoredModel {
  config: ModelConfig
  /** Neither a JAX checkpoint nor tensors alone say how many rows a chunk has; without it the config's 50 means nothing. */
  horizonIsKnown: boolean
  /** LoRA adapters of a JAX checkpoint: what is merged into the weights, with which scale, and who says so. */
  adapters: readonly string[]
}

/** A checkpoint directory: its config and what holds its weights. */
export interface ModelDirectory extends StoredModel {
  weightsPath: string
}

/** Reads the config of weights: from config.json, or, where it says nothing of the sizes, from the tensors' shapes. Throws CHECKPOINT_INVALID. */
export function readStoredModel(store: TensorStore, configPath: string): StoredModel {
  const weights = store instanceof PeftTensors ? store.base : store
  if (weights instanceof JaxTensors)
    return {
      config: jaxModelConfig(weights.leaves, weights.path),
      horizonIsKnown: false,
      adapters: weights.adapters,
    }
  refuseWrapped(weights)
  if (!existsSync(configPath))
    return { config: sizesFromTensors(weights), horizonIsKnown: false, adapters: [] }
  const json = readJson(configPath, 'CHECKPOINT_INVALID')
  const config = parseModelConfig(json, configPath, weights.tensors.keys())
  return { config, horizonIsKnown: true, adapters: [] }
}

function refuseWrapped(store: TensorStore): void {
  const prefix = wrapperPrefix(store.tensors.keys())
  if (prefix === undefined) return
  throw new TurboPiError(
    'CHECKPOINT_INVALID',
    `${store.path}: every tensor's name begins with "${prefix}": the state of a wrapper (DistributedDataParallel's "module.", torch.compile's "_orig_mod."), not of the model.\n` +
      `Save the model inside it, or take "${prefix}" off the names and save again.`,
  )
}

/** Reads a directory that holds weights, without loading them. Throws CHECKPOINT_INVALID. */
export function readModelDirectory(directory: string): ModelDirectory {
  const weightsPath = weightsIn(directory)
  if (!weightsPath)
    throw new TurboPiError(
      'CHECKPOINT_INVALID',
      `${directory}: expected ${WEIGHTS.join(', or ')} there (the last is the folder of a JAX checkpoint), found none`,
    )
  const store = openTensors(weightsPath)
  try {
    return { ...readStoredModel(store, join(directory, 'config.json')), weightsPath }
  } finally {
    store.close()
  }
}
