import { TurboPiError } from '../../errors.js'
import { isModelType, MODEL_TYPES, variantOf } from '../../families/pi0/variant.js'
import { Safetensors } from '../../storage/safetensors.js'
import { checkFeatureStats, type FeatureStats } from '../norm-stats.js'
import type { Normalisation } from '../normalise.js'
import { type PolicyDirectory, readConfig } from './directory.js'
import { contradictions } from './lerobot-contradictions.js'
import { lerobotEmbodiment } from './lerobot-features.js'
import { type Json, readPostprocessor, readPreprocessor, record, refuse } from './lerobot-processors.js'
import { withJoints } from './manifest.js'
import type { PolicyOptions, TrainingConventions } from './openpi.js'
import { tokenizerPath } from './tokenizer-file.js'

const KINDS: Readonly<Record<string, Normalisation>> = { QUANTILES: 'quantile', MEAN_STD: 'zscore' }

/**
 * How a LeRobot pi05 or pi0 checkpoint was trained, from its own files (network §2.3). What the saved processors say counts,
 * as in LeRobot's inference; where config.json says something else, a note names it. Throws POLICY_INVALID and its kin.
 */
export function lerobotConventions(source: PolicyDirectory, options: PolicyOptions): TrainingConventions {
  const { directory, configPath, manifest } = source
  refuseOpenpiOptions(source, options)
  const config = readConfig(configPath)
  const modelType = config['type']
  if (!isModelType(modelType))
    throw refuse(
      `${configPath}: type is ${JSON.stringify(modelType)}; this server runs ${MODEL_TYPES.join(' and ')}.`,
    )
  refuseExtensions(config, configPath)
  refuseResolution(config, configPath)
  const input = readPreprocessor(directory, modelType)
  const output = readPostprocessor(directory)
  const normaliser = input.config('normalizer_processor')
  // LeRobot's own default of the step.
  const maxTokenLength = positive(input.config('tokenizer_processor'), 'max_length', input.path, 512)
  const path = input.stateFile('normalizer_processor')
  const defaultPrompt = options.defaultPrompt ?? manifest?.defaultPrompt
  const horizon = options.actionHorizon
  return {
    name: manifest?.name ?? source.name,
    modelType,
    ...(horizon !== undefined && { actionHorizon: horizon }),
    horizonIsExplicit: horizon !== undefined,
    maxTokenLength,
    notes: contradictions(config, input, output),
    promptForm: variantOf({ modelType }).stateToken ? 'line' : 'state',
    paddedPromptState: manifest?.paddedPromptState ?? false,
    embodiment: withJoints(lerobotEmbodiment(config, configPath, input, output), manifest),
    convention: 'lerobot',
    normalisation: {
      state: kindOf(normaliser, 'STATE', input.path),
      actions: kindOf(output.config('unnormalizer_processor'), 'ACTION', output.path),
    },
    stats: {
      path,
      read: () => ({
        state: readStats(path, 'observation.state'),
        actions: readStats(output.stateFile('unnormalizer_processor'), 'action'),
      }),
    },
    resize: 'torch',
    tokenizerPath: tokenizerPath(source, options),
    ...(defaultPrompt !== undefined && { defaultPrompt }),
    defaultSteps:
      options.defaultSteps ??
      manifest?.defaultSteps ??
      positive(config, 'num_inference_steps', configPath, 10),
    guard: { ...manifest?.guard, ...options.guard },
    metadata: manifest?.metadata ?? {},
  }
}

/** A LeRobot checkpoint says itself how it was trained; openpi's presets and statistics are others. */
function refuseOpenpiOptions({ directory, manifest }: PolicyDirectory, options: PolicyOptions): void {
  const config = options.config ?? manifest?.config
  if (config)
    throw refuse(
      `${directory} is a LeRobot checkpoint, which carries its own normalisation, prompt form and cameras; openpi's config ${config} would serve it wrongly. Leave the config out.`,
    )
  if (options.normStats ?? manifest?.normStats)
    throw refuse(
      `${directory} is a LeRobot checkpoint with its own statistics; norm_stats.json belongs to openpi's. Leave it out.`,
    )
  for (const field of ['embodiment', 'normalisation', 'discreteState', 'actionHorizon'] as const)
    if (manifest?.[field] !== undefined)
      throw refuse(
        `${directory}/policy.json: "${field}" is read from the LeRobot checkpoint itself; leave it out.`,
      )
}

function refuseExtensions(config: Json, path: string): void {
  for (const field of ['use_visual_memory', 'use_proprioceptive_memory'])
    if (config[field] === true) throw refuse(`${path}: ${field} is on; observation memory is not supported.`)
  if ((config['n_obs_steps'] ?? 1) !== 1)
    throw refuse(`${path}: n_obs_steps must be 1, got ${config['n_obs_steps']}.`)
}

/** The network's own picture size; other sizes would be resized twice. */
function refuseResolution(config: Json, path: string): void {
  const size = record(config['vision'])['image_size'] ?? 224
  const resolution = (config['image_resolution'] ?? [size, size]) as unknown[]
  if (resolution.length !== 2 || resolution.some(side => side !== size))
    throw refuse(
      `${path}: image_resolution is ${JSON.stringify(resolution)}; the network takes ${size} × ${size}.`,
    )
}

function positive(config: Json, field: string, path: string, otherwise: number): number {
  const value = config[field] ?? otherwise
  if (Number.isInteger(value) && (value as number) > 0) return value as number
  throw refuse(`${path}: ${field} must be a positive integer, got ${JSON.stringify(value)}.`)
}

function kindOf(step: Json, feature: 'STATE' | 'ACTION', path: string): Normalisation {
  const { [feature]: mode, VISUAL: visual = 'IDENTITY' } = record(step['norm_map'])
  if (visual !== 'IDENTITY')
    throw refuse(`${path}: norm_map.VISUAL is ${visual}; only IDENTITY is supported.`)
  if ((step['eps'] ?? 1e-8) !== 1e-8) throw refuse(`${path}: eps is ${step['eps']}; only 1e-8 is supported.`)
  const kind = typeof mode === 'string' && Object.hasOwn(KINDS, mode) ? KINDS[mode] : undefined
  if (kind) return kind
  throw refuse(
    `${path}: norm_map.${feature} is ${JSON.stringify(mode)}; supported are ${Object.keys(KINDS).join(' and ')}.`,
  )
}

/** Statistics named `<feature>.<stat>` in a processor's state file. */
function readStats(path: string, feature: string): FeatureStats {
  const store = Safetensors.open(path)
  try {
    const numbers = (stat: string) => {
      const name = `${feature}.${stat}`
      return store.tensors.has(name) ? Float64Array.from(store.float32(name)) : undefined
    }
    const [mean, std, q01, q99, min, max] = ['mean', 'std', 'q01', 'q99', 'min', 'max'].map(numbers)
    if (!(mean && std) && !(q01 && q99))
      throw new TurboPiError(
        'NORM_STATS_INVALID',
        `${path}: there is neither ${feature}.mean and ${feature}.std nor ${feature}.q01 and ${feature}.q99; without statistics LeRobot would leave ${feature} as it is.`,
      )
    for (const [stat, values] of Object.entries({ mean, std, q01, q99, min, max }))
      if (values && !values.every(Number.isFinite))
        throw new TurboPiError('NORM_STATS_INVALID', `${path}: ${feature}.${stat} must be finite.`)
    const found = {
      ...(mean && std && { mean, std }),
      ...(q01 && q99 && { q01, q99 }),
      ...(min && max && { min, max }),
    }
    return checkFeatureStats(found, feature, path)
  } finally {
    store.close()
  }
}
