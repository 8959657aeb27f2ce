import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Safetensors } from '../../storage/safetensors.js'
import type { TensorStore } from '../../storage/tensor-source.js'
import { JaxTensors } from './jax/tensors.js'
import { PeftTensors } from './peft/tensors.js'

/** What holds weights below a directory: a safetensors file, the index of its shards, or the `params` of a JAX checkpoint. */
export const WEIGHTS = ['model.safetensors', 'model.safetensors.index.json', 'params'] as const

/** The weights of a directory; undefined when there are none. */
export const weightsIn = (directory: string): string | undefined =>
  WEIGHTS.map(name => join(directory, name)).find(existsSync)

/**
 * Opens weights by their path, with the adapters of a PEFT folder laid over them. Names are those of the file, for a JAX
 * checkpoint those of its conversion. Throws CHECKPOINT_INVALID.
 */
export function openTensors(path: string, adapterPath?: string): TensorStore {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
  const base = isFolder ? JaxTensors.open(path) : Safetensors.open(path)
  return adapterPath === undefined ? base : PeftTensors.open(base, adapterPath)
}

/** The stores that the tensors come from, with every number as it lies there. */
export function storesOf(store: TensorStore): readonly TensorStore[] {
  if (store instanceof PeftTensors) return [...storesOf(store.base), store.adapter]
  return [store instanceof JaxTensors ? store.store : store]
}
