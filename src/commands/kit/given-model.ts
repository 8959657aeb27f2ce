import { resolve } from 'node:path'
import { type ModelDirectory, readModelDirectory } from '../../families/pi0/model-directory.js'

/** The checkpoint that `--model` names; says on standard error which adapters are merged into it. Throws CHECKPOINT_INVALID. */
export function givenModel(directory: string): ModelDirectory {
  const model = readModelDirectory(resolve(directory))
  for (const adapter of model.adapters) console.error(adapter)
  return model
}
