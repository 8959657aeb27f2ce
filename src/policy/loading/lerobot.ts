import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { TurboPiError } from '../../errors.js'
import { isModelType, MODEL_TYPES, variantOf } from '../../families/pi0/variant.js'
import { Safetensors } from '../../storage/safetensors.js'
import type { Embodiment } from '../embodiment.js'
import { checkFeatureStats, type FeatureStats } from '../norm-stats.js'
import type { Normalisation } from '../normalise.js'
import { type PolicySource, readConfig } from './directory.js'
import { fileInside } from './files.js'
import type { PolicyOptions, Profile } from './openpi.js'
import { tokenizerPath } from './tokenizer-file.js'

type Json = Record<string, unknown>

const refuse = (detail: string) => new TurboPiError('POLICY_INVALID', detail)
const record = (value: unknown): Json => (typeof value === 'object' && value !== null ? (value as Json) : {})

/** Steps that the server does in its own way, or that only move data between devices. */
const INPUT_STEPS = [
  'rename_observations_processor',
  'to_batch_processor',
  'relative_actions_processor',
  'normalizer_processor',
  'pi05_prepare_state_tokenizer_processor_step',
  'pi0_new_line_processor',
  'tokenizer_processor',
  'device_processor',
]
const OUTPUT_STEPS = ['unnormalizer_processor', 'absolute_actions_processor', 'device_processor']

const KINDS: Readonly<Record<string, Normalisation>> = { QUANTILES: 'quantile', MEAN_STD: 'zscore' }

/** A saved processor pipeline: its steps' settings, and the files of their state. */
class Pipeline {
  readonly path: string
  readonly #directory: string
  readonly #steps = new Map<string, { config: Json; stateFile: string | undefined }>()

  /** Throws POLICY_INVALID for steps that change an observation in a way this server does not know. */
  constructor(directory: string, file: string, known: readonly string[]) {
    this.#directory = directory
    this.path = join(directory, file)
    if (!existsSync(this.path))
      throw new TurboPiError(
        'NORM_STATS_INVALID',
        `${this.path} is missing; it holds the normalisation of a LeRobot checkpoint, without which every action would be wrong.\nCopy the policy's whole folder; LeRobot writes the file for checkpoints of before its processors: python src/lerobot/processor/migrate_policy_normalization.py --pretrained-path FOLDER`,
      )
    const { steps } = readConfig(this.path)
    if (!Array.isArray(steps)) throw refuse(`${this.path}: expected a list "steps".`)
    for (const step of steps as Json[]) {
      const name = String(step['registry_name'] ?? step['class'])
      if (!known.includes(name))
        throw refuse(`${this.path}: the step ${name} is not supported; known are ${known.join(', ')}.`)
      const stateFile = step['state_file']
      this.#steps.set(name, {
        config: record(step['config']),
        stateFile: typeof stateFile === 'string' ? stateFile : undefined,
      })
    }
  }

  config(step: string): Json {
    return this.#steps.get(step)?.config ?? {}
  }

  /** Path of a step's tensors. */
  stateFile(step: string): string {
    const file = this.#steps.get(step)?.stateFile
    if (file !== undefined) return fileInside(this.#directory, file, `${this.path}: state_file`)
    throw new TurboPiError(
      'NORM_STATS_INVALID',
      `${this.path}: the step ${step} has no state file: a base checkpoint, which holds no robot's statistics.\nFine-tune it on the robot's data; LeRobot saves the statistics with the result.`,
    )
  }
}

/** How a LeRobot pi05 or pi0 checkpoint was trained, from its own files (pi05-spec §2.3). Throws POLICY_INVALID and its kin. */
export function lerobotProfile(source: PolicySource, options: PolicyOptions): Profile {
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
  const input = new Pipeline(directory, 'policy_preprocessor.json', INPUT_STEPS)
  const output = new Pipeline(directory, 'policy_postprocessor.json', OUTPUT_STEPS)
  const normaliser = input.config('normalizer_processor')
  const path = input.stateFile('normalizer_processor')
  const defaultPrompt = options.defaultPrompt ?? manifest?.defaultPrompt
  const horizon = options.actionHorizon
  return {
    name: manifest?.name ?? source.name,
    modelType,
    ...(horizon !== undefined && { actionHorizon: horizon }),
    horizonIsExplicit: horizon !== undefined,
    promptForm: variantOf({ modelType }).stateToken ? 'line' : 'state',
    paddedPromptState: manifest?.paddedPromptState ?? false,
    embodiment: embodimentOf(config, configPath, input, output),
    convention: 'lerobot',
    normalisation: {
      state: kindOf(config, normaliser, 'STATE', input.path),
      actions: kindOf(config, output.config('unnormalizer_processor'), 'ACTION', output.path),
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
function refuseOpenpiOptions({ directory, manifest }: PolicySource, options: PolicyOptions): void {
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

function kindOf(config: Json, step: Json, feature: 'STATE' | 'ACTION', path: string): Normalisation {
  const { [feature]: mode, VISUAL: visual = 'IDENTITY' } = record(step['norm_map'])
  if (visual !== 'IDENTITY')
    throw refuse(`${path}: norm_map.VISUAL is ${visual}; only IDENTITY is supported.`)
  if ((step['eps'] ?? 1e-8) !== 1e-8) throw refuse(`${path}: eps is ${step['eps']}; only 1e-8 is supported.`)
  const trained = record(config['normalization_mapping'])[feature] ?? mode
  if (mode !== trained)
    throw refuse(
      `${path}: norm_map.${feature} is ${mode}, but config.json says ${trained}; the files do not belong together.`,
    )
  const kind = typeof mode === 'string' ? KINDS[mode] : undefined
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
    const [mean, std, q01, q99] = ['mean', 'std', 'q01', 'q99'].map(numbers)
    if (!mean || !std)
      throw new TurboPiError(
        'NORM_STATS_INVALID',
        `${path}: there is no ${feature}.mean and ${feature}.std; without statistics LeRobot would leave ${feature} as it is.`,
      )
    for (const [stat, values] of Object.entries({ mean, std, q01, q99 }))
      if (values && !values.every(Number.isFinite))
        throw new TurboPiError('NORM_STATS_INVALID', `${path}: ${feature}.${stat} must be finite.`)
    return checkFeatureStats({ mean, std, ...(q01 && q99 && { q01, q99 }) }, feature, path)
  } finally {
    store.close()
  }
}

/** Cameras fill the slots in the order of config.json; empty ones stay masked. */
function embodimentOf(config: Json, path: string, input: Pipeline, output: Pipeline): Embodiment {
  const features = Object.entries(record(config['input_features'])).map(([key, value]) => ({
    key,
    ...record(value),
  }))
  const renamed = Object.entries(record(input.config('rename_observations_processor')['rename_map']))
  const keyOf = (feature: string) => renamed.find(([, to]) => to === feature)?.[0] ?? feature
  const cameras = features.filter(
    ({ key, type }: Json) => type === 'VISUAL' && !String(key).includes('empty_camera_'),
  )
  const slots = ['base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb']
  if (cameras.length === 0 || cameras.length > slots.length)
    throw refuse(`${path}: input_features names ${cameras.length} cameras; one to three are supported.`)
  const state = features.find(({ key }) => key === 'observation.state')
  if (!state) throw refuse(`${path}: input_features has no observation.state.`)
  const actionSize = sizeOf(record(config['output_features'])['action'], 'output_features.action', path)
  const stateSize = sizeOf(state, 'input_features["observation.state"]', path)
  return {
    format: 'turbo-pi.embodiment/1',
    name: 'lerobot',
    cameras: cameras.map(({ key }, i) => ({
      key: keyOf(key),
      slot: slots[i] as string,
      required: true,
      layout: 'chw',
      description: `camera ${key.replace('observation.images.', '')}`,
    })),
    state: [{ key: keyOf('observation.state'), size: stateSize, description: 'state of the robot' }],
    promptKey: 'task',
    actionSize,
    ...(isRelative(config, input, output) && { deltaMask: relativeMask(config, actionSize) }),
  }
}

function sizeOf(feature: unknown, name: string, path: string): number {
  const shape = record(feature)['shape']
  if (Array.isArray(shape) && shape.length === 1 && Number.isInteger(shape[0])) return shape[0] as number
  throw refuse(`${path}: ${name} must have a shape [n], got ${JSON.stringify(shape)}.`)
}

function isRelative(config: Json, input: Pipeline, output: Pipeline): boolean {
  const enabled = [
    config['use_relative_actions'],
    input.config('relative_actions_processor')['enabled'],
    output.config('absolute_actions_processor')['enabled'],
  ].map(value => value === true)
  if (enabled.every(value => value === enabled[0])) return enabled[0] as boolean
  throw refuse(
    `${output.path}: relative actions are on in only some of config.json (use_relative_actions), ${input.path} and ${output.path}; the files do not belong together.`,
  )
}

/** Joints whose name contains an excluded one stay absolute. */
function relativeMask(config: Json, size: number): boolean[] {
  const excluded = (config['relative_exclude_joints'] ?? []) as string[]
  const names = (config['action_feature_names'] ?? []) as string[]
  return Array.from({ length: size }, (_, i) => {
    const name = names[i]?.toLowerCase()
    return name === undefined || !excluded.some(joint => joint !== '' && name.includes(joint.toLowerCase()))
  })
}
