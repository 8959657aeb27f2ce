import { fileURLToPath } from 'node:url'
import type { Config } from '../../config.js'
import { TurboPiError } from '../../errors.js'
import { loadPolicy } from '../../policy/loading/load.js'
import type { PolicyOptions } from '../../policy/loading/openpi.js'
import type { Policy } from '../../policy/policy.js'
import { randomPolicy } from './random-policy.js'

/** Directory of the policy that is taken when none is named. */
export const bundledPolicy = () => fileURLToPath(new URL('../../../policies/tabletop', import.meta.url))

/** Loads the policy of a directory, by default the one that the settings name; `onNote` hears what is odd about it. Throws what `loadPolicy` throws. */
export function configuredPolicy(
  config: Config,
  directory = onlyDirectory(config),
  onNote?: (note: string) => void,
): Promise<Policy> {
  const options: PolicyOptions = {
    ...(config.config !== undefined && { config: config.config }),
    ...(config.normStats !== undefined && { normStats: config.normStats }),
    ...(config.tokenizer !== undefined && { tokenizer: config.tokenizer }),
    ...(config.adapter !== undefined && { adapter: config.adapter }),
    ...(config.defaultPrompt !== undefined && { defaultPrompt: config.defaultPrompt }),
    ...(config.numSteps > 0 && { defaultSteps: config.numSteps }),
    guard: {
      ...(config.guard !== 'auto' && { mode: config.guard }),
      ...(config.guardMargin >= 0 && { margin: config.guardMargin / 100 }),
    },
    maxImagePixels: config.maxImagePixels,
    ...(onNote && { onNote }),
  }
  return config.randomWeights === 'off'
    ? loadPolicy(directory, options)
    : randomPolicy(config.randomWeights, options, config.cacheDir)
}

function onlyDirectory({ policy }: Config): string {
  if (policy.length > 1)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--policy names ${policy.length} policies; this command takes one. Only serve takes several.`,
    )
  return policy[0]?.directory ?? bundledPolicy()
}
