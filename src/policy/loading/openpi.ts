import { existsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TurboPiError } from '../../errors.js'
import { type ModelType, variantOf } from '../../families/pi0/variant.js'
import { EMBODIMENTS, type Embodiment, type EmbodimentName, readEmbodiment } from '../embodiment.js'
import type { GuardSettings } from '../guard/settings.js'
import type { ResizeMethod } from '../images/resize.js'
import { type NormStats, readNormStats } from '../norm-stats.js'
import type { Normalisation, NormalisationConvention } from '../normalise.js'
import type { PromptForm } from '../prompt.js'
import type { PolicyDirectory } from './directory.js'
import { fileInside } from './files.js'
import { fittingPresets, statsIn } from './fitting.js'
import { type Manifest, withJoints } from './manifest.js'
import { type LoraRanks, type Preset, presetOf } from './presets.js'
import { tokenizerPath } from './tokenizer-file.js'

/** What a caller may choose when loading a policy. */
export interface PolicyOptions {
  /** Preset for a checkpoint directory without policy.json. */
  config?: string
  /** Path of a norm_stats.json, instead of the directory's own. */
  normStats?: string
  /** Path of a tokenizer file, instead of the directory's own. */
  tokenizer?: string
  /** Folder of a PEFT adapter to merge into the weights. */
  adapter?: string
  /** Rows of a chunk, where the preset and config.json disagree. */
  actionHorizon?: number
  /** Prompt of observations that carry none. */
  defaultPrompt?: string
  /** Denoise steps of requests that name none. */
  defaultSteps?: number
  guard?: Partial<GuardSettings>
  /** Pixels that one image may have; 16 777 216 by default. */
  maxImagePixels?: number
  /** Looks at every weight, not at samples alone. */
  deep?: boolean
  /** Hears what is odd about the directory and does not keep it from being served. */
  onNote?: (note: string) => void
  /** Hears bytes read and in all while every weight is looked at. */
  onRead?: (done: number, total: number) => void
}

/** How a checkpoint must be served, as its directory and the caller say. */
export interface TrainingConventions {
  name: string
  /** What the profile is for; undefined takes the checkpoint's. */
  modelType?: ModelType
  actionHorizon?: number
  /** The horizon was asked for by number, so config.json need not agree. */
  horizonIsExplicit: boolean
  maxTokenLength?: number
  /** What is odd, and how it is served nevertheless. */
  notes?: readonly string[]
  /** Ranks of the adapters that the config trains. */
  lora?: LoraRanks
  /** Undefined takes the model type's: state for pi05, plain for pi0. */
  promptForm?: PromptForm
  paddedPromptState: boolean
  embodiment: Embodiment
  convention: NormalisationConvention
  /** Undefined takes the model type's: quantile for pi05, z-score for pi0. */
  normalisation?: { state: Normalisation; actions: Normalisation }
  stats: { path: string; read(): NormStats }
  resize: ResizeMethod
  tokenizerPath: string
  defaultPrompt?: string
  defaultSteps: number
  guard: Partial<GuardSettings>
  metadata: Readonly<Record<string, unknown>>
}

const refuse = (detail: string) => new TurboPiError('POLICY_INVALID', detail)

/** The profile of our own manifest or of an openpi checkpoint with a preset. Throws POLICY_INVALID and its kin. */
export function openpiConventions(source: PolicyDirectory, options: PolicyOptions): TrainingConventions {
  const { directory, manifest } = source
  const presetName = options.config ?? manifest?.config
  const preset = presetName === undefined ? undefined : presetOf(presetName, () => fittingPresets(source))
  if (options.config && manifest?.config && options.config !== manifest.config)
    throw refuse(
      `${directory}: policy.json is made for config ${manifest.config}, --config asks for ${options.config}. Leave --config out.`,
    )
  if (!manifest && !preset) {
    const fit = fittingPresets(source)
    throw refuse(
      `${directory} does not say how it was trained; name its openpi config, for example --config ${fit[0] ?? 'pi05_libero'}, or write a policy.json.` +
        (fit.length ? `\nBy its horizon, statistics and assets it may be of ${fit.join(', ')}.` : ''),
    )
  }
  if (manifest) checkAgainstPreset(manifest, preset, presetName)
  if (manifest?.paddedPromptState !== undefined)
    throw refuse(`${directory}: policy.json: "paddedPromptState" is for LeRobot checkpoints; leave it out.`)
  const actionHorizon = options.actionHorizon ?? manifest?.actionHorizon ?? preset?.actionHorizon
  const discreteState = manifest?.discreteState ?? preset?.discreteState
  const normalisation = manifest?.normalisation
  const defaultPrompt = options.defaultPrompt ?? manifest?.defaultPrompt ?? preset?.defaultPrompt
  const path = normStatsPath(source, options, preset)
  return {
    name: manifest?.name ?? presetName ?? source.name,
    ...(preset && { modelType: preset.modelType, maxTokenLength: preset.maxTokenLength }),
    ...(preset?.lora && { lora: preset.lora }),
    ...(actionHorizon !== undefined && { actionHorizon }),
    horizonIsExplicit: (options.actionHorizon ?? manifest?.actionHorizon) !== undefined,
    ...(discreteState !== undefined && { promptForm: discreteState ? 'state' : 'plain' }),
    paddedPromptState: false,
    embodiment: withJoints(embodimentOf(source, preset), manifest),
    convention: 'openpi',
    ...(normalisation && { normalisation: { state: normalisation, actions: normalisation } }),
    stats: { path, read: () => readNormStats(path) },
    resize: 'pillow',
    tokenizerPath: tokenizerPath(source, options),
    ...(defaultPrompt !== undefined && { defaultPrompt }),
    defaultSteps: options.defaultSteps ?? manifest?.defaultSteps ?? 10,
    guard: { ...manifest?.guard, ...options.guard },
    metadata: manifest?.metadata ?? preset?.metadata ?? {},
  }
}

function checkAgainstPreset(manifest: Manifest, preset: Preset | undefined, name: string | undefined): void {
  if (!preset) return
  const expected = variantOf(preset).normalisation
  if (manifest.normalisation && manifest.normalisation !== expected)
    throw refuse(
      `policy.json: normalisation is "${manifest.normalisation}", but config ${name} was trained with "${expected}". Leave the field or the config out.`,
    )
}

function embodimentOf({ directory, manifest }: PolicyDirectory, preset: Preset | undefined): Embodiment {
  const named = manifest?.embodiment
  if (typeof named === 'object') return named
  if (named !== undefined)
    return Object.hasOwn(EMBODIMENTS, named)
      ? EMBODIMENTS[named as EmbodimentName]
      : readEmbodiment(fileInside(directory, named, 'policy.json: embodiment'))
  if (!preset)
    throw refuse(`${directory}: policy.json names neither "config" nor "embodiment"; one of them is needed.`)
  return { ...EMBODIMENTS[preset.embodiment], ...(preset.deltaMask && { deltaMask: preset.deltaMask }) }
}

function normStatsPath(source: PolicyDirectory, options: PolicyOptions, preset: Preset | undefined): string {
  const { directory, manifest } = source
  if (options.normStats) {
    const path = resolve(options.normStats)
    const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
    return isFolder ? join(path, 'norm_stats.json') : path
  }
  if (manifest?.normStats) return fileInside(directory, manifest.normStats, 'policy.json: normStats')
  const path = preset && join(directory, 'assets', preset.assetId, 'norm_stats.json')
  if (path && existsSync(path)) return path
  throw new TurboPiError(
    'NORM_STATS_INVALID',
    `${directory} has no normalisation statistics${path ? ` (expected ${path})` : ''}; without them every action would be wrong.` +
      (others(source) ||
        "\nopenpi's converter leaves them out when it does not find the assets folder: give the original checkpoint's norm_stats.json with --norm-stats."),
  )
}

/** What there is in place of the statistics that a preset asks for. */
function others(source: PolicyDirectory): string {
  const found = statsIn(source.directory)
  if (found.length === 0) return ''
  const fit = fittingPresets(source)
  const config = fit.length ? `, or name the config that they fit: --config ${fit.join(' or ')}` : ''
  return ` It has ${found.join(', ')}.\nIf these are this robot's, give them: --norm-stats ${join(source.directory, found[0]!)}${config}.`
}
