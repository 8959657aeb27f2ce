import { basename, join } from 'node:path'
import { TurboPiError } from '../../errors.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import { readStoredModel } from '../../families/pi0/model-directory.js'
import { openTensors } from '../../families/pi0/open-tensors.js'
import { variantOf } from '../../families/pi0/variant.js'
import { type PolicyDirectory, readConfig, readPolicyDirectory } from '../../policy/loading/directory.js'
import { fittingPresets, statsIn } from '../../policy/loading/fitting.js'
import { readPreprocessor } from '../../policy/loading/lerobot-processors.js'
import { PRESETS } from '../../policy/loading/presets.js'
import { tokenizerPath } from '../../policy/loading/tokenizer-file.js'
import type { FeatureStats } from '../../policy/norm-stats.js'

/** What a checkpoint says of itself, before anybody is asked. */
export interface GivenCheckpoint {
  source: PolicyDirectory
  name: string
  model: ModelConfig
  /** Its files say how many rows a chunk has. */
  horizonIsKnown: boolean
  /** The openpi configs that it may be of. */
  presets: readonly string[]
  /** norm_stats.json files, by their paths in the directory. */
  stats: readonly string[]
}

/** Reads a directory that has no policy.json yet. Throws POLICY_INVALID and its kin. */
export function readGiven(path: string): GivenCheckpoint {
  const source = readPolicyDirectory(path)
  const { directory, weightsPath, configPath } = source
  if (source.manifest)
    throw new TurboPiError(
      'POLICY_INVALID',
      `${join(directory, 'policy.json')} is there already.\nEdit it, or move it away to have another one written.`,
    )
  tokenizerPath(source, {})
  const store = openTensors(weightsPath)
  try {
    const { config: model, horizonIsKnown } = readStoredModel(store, configPath)
    const presets = fittingPresets(source).filter(name => variantOf(PRESETS[name]!) === variantOf(model))
    return { source, name: basename(directory), model, horizonIsKnown, presets, stats: statsIn(directory) }
  } finally {
    store.close()
  }
}

/** Numbers of a feature: without the padding to the network's width, which openpi's statistics may have. */
export function ownSize({ mean, q01 }: FeatureStats, { actionDim }: ModelConfig): number {
  const values = mean ?? q01!
  if (values.length !== actionDim) return values.length
  const last = values.findLastIndex(value => value !== 0)
  return last < 0 ? values.length : last + 1
}

/** Names of an action's numbers in a LeRobot checkpoint: of its relative-action step, else of config.json. */
export function namesIn({ source, model }: GivenCheckpoint): readonly string[] {
  if (source.layout !== 'lerobot') return []
  const { action_names: saved } = readPreprocessor(source.directory, model.modelType).config(
    'relative_actions_processor',
  )
  const names = saved ?? readConfig(source.configPath)['action_feature_names']
  return Array.isArray(names) ? names.map(String) : []
}
