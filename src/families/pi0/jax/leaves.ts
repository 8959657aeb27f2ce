import { TurboPiError } from '../../../errors.js'
import type { TensorInfo, TensorStore } from '../../../storage/tensor-source.js'
import { isAdapter } from './lora.js'
import { jaxParameters } from './parameters.js'

/** A leaf of the tree of parameters: its name in the store, and what is known of it. */
export interface Leaf extends TensorInfo {
  stored: string
}

/** The parameters of an openpi JAX checkpoint by their paths below `params`. */
export type Leaves = ReadonlyMap<string, Leaf>

const ROOT = 'params/'
const VALUE = '/value'

const refuse = (path: string, detail: string) => new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`)

/**
 * Names the leaves as openpi does: below `params`, and without a final `value`, which training writes. A module of SigLIP
 * is called `value` too, so that it goes only where every leaf ends in it. Throws CHECKPOINT_INVALID.
 */
export function jaxLeaves(store: TensorStore): Leaves {
  const names = [...store.tensors.keys()]
  const other = names.find(name => !name.startsWith(ROOT))
  if (other !== undefined || names.length === 0)
    throw refuse(
      store.path,
      `expected arrays below "params", found ${other ?? 'none'}; it is no openpi checkpoint.`,
    )
  const suffix = names.every(name => name.endsWith(VALUE)) ? VALUE.length : 0
  return new Map(
    names.map(stored => [
      stored.slice(ROOT.length, stored.length - suffix),
      { stored, ...store.entry(stored) },
    ]),
  )
}

/** pi0.5 has a network for the time, pi0 one for time and action together. */
export const jaxModelType = (leaves: Leaves): 'pi05' | 'pi0' =>
  leaves.has('time_mlp_in/kernel') ? 'pi05' : 'pi0'

/** Throws CHECKPOINT_INVALID unless the leaves are those of pi0.5 or pi0, with adapters or without. */
export function checkLeaves(leaves: Leaves, path: string): void {
  const modelType = jaxModelType(leaves)
  const expected = new Set(jaxParameters(modelType).map(({ leaf }) => leaf))
  const missing = [...expected].filter(leaf => !leaves.has(leaf))
  if (missing.length > 0)
    throw refuse(
      path,
      `${missing.length} of ${expected.size} parameters of a ${modelType} model are missing: ${list(missing)}`,
    )
  const extra = [...leaves.keys()].filter(leaf => !expected.has(leaf) && !isAdapter(leaf, expected))
  if (extra.length > 0)
    throw refuse(path, `${extra.length} parameters do not belong to a ${modelType} model: ${list(extra)}`)
}

const list = (names: readonly string[]) =>
  names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '')
