import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ModelConfig, releasedConfig } from '../../families/pi0/config.js'
import { randomCheckpoint } from '../../families/pi0/random-weights.js'
import { type ModelType, variantOf } from '../../families/pi0/variant.js'
import { Checks } from '../../policy/loading/checklist.js'
import { inspectPolicy } from '../../policy/loading/inspect.js'
import type { PolicyOptions } from '../../policy/loading/openpi.js'
import type { Policy } from '../../policy/policy.js'
import { RobotPolicy } from '../../policy/robot-policy.js'
import { cacheDirectory } from '../../storage/cache.js'
import { markUse } from '../../storage/use.js'
import { bytesProgress } from './bytes-progress.js'
import { blocking } from './interruption.js'

/** Lends its embodiment, statistics and tokenizer: its tokens are the first of a full vocabulary. */
const pattern = () => fileURLToPath(new URL('../../../policies/tiny-libero', import.meta.url))

/**
 * A LIBERO policy of a released model's full size with seeded random weights, which are written into the cache once.
 * For measuring without a download: its actions mean nothing. Throws CACHE_FAILED.
 */
export async function randomPolicy(
  modelType: ModelType,
  options: PolicyOptions,
  cache = cacheDirectory(),
): Promise<Policy> {
  const parts = inspectPolicy(pattern(), options, new Checks({ stopAtFirst: true }))
  if (!parts) throw new Error('the bundled policy is damaged')
  const { actionHorizon } = parts.model
  const model = { ...releasedConfig(modelType), actionHorizon }
  const kind = variantOf(model).normalisation
  const weightsPath = await writtenWeights(modelType, model, cache)
  // Its weights are read again when the lowered ones are damaged.
  markUse(dirname(weightsPath))
  return new RobotPolicy({
    ...parts,
    name: `random ${modelType}`,
    model,
    weightsPath,
    normalisation: { ...parts.normalisation, state: kind, actions: kind },
  })
}

/** The file of seeded random weights of a model, written into the cache on first use. Throws CACHE_FAILED. */
export const writtenWeights = (modelType: ModelType, model: ModelConfig, cache: string): Promise<string> =>
  blocking(() =>
    randomCheckpoint(model, cache, { onProgress: bytesProgress(`Writing random ${modelType} weights`) }),
  )
