import { basename } from 'node:path'
import { TurboPiError } from '../../errors.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import { variantOf } from '../../families/pi0/variant.js'
import { checkEmbodiment, stateSizeOf } from '../embodiment.js'
import { Guard } from '../guard/guard.js'
import { DEFAULT_GUARD } from '../guard/settings.js'
import { checkStatsLength, type NormStats } from '../norm-stats.js'
import { type Normalisation, Normaliser } from '../normalise.js'
import type { PolicyParts } from '../parts.js'
import type { PromptForm } from '../prompt.js'
import { tokenizerOf } from '../tokenizer/load.js'
import { readTokenizer, type TokenizerFile } from '../tokenizer/read.js'
import { type Checks, found } from './checklist.js'
import { checkDigests, readPolicyDirectory } from './directory.js'
import { lerobotConventions } from './lerobot.js'
import { inspectNetwork } from './network.js'
import { openpiConventions, type PolicyOptions, type TrainingConventions } from './openpi.js'

const MAX_IMAGE_PIXELS = 2 ** 22

const refuse = (detail: string) => new TurboPiError('POLICY_INVALID', detail)

/** What was read of large files before, in other threads. */
export interface ReadBefore {
  /** SHA-256 of files by their paths. */
  digests?: ReadonlyMap<string, string>
  tokenizer?: { path: string; file: TokenizerFile } | undefined
}

/**
 * Reads a policy directory and checks everything that could make it serve wrong actions in silence (network §7). Gives
 * undefined when a check failed and `checks` goes on.
 */
export function inspectPolicy(
  directory: string,
  options: PolicyOptions,
  checks: Checks,
  read: ReadBefore = {},
): PolicyParts | undefined {
  const source = checks.run('directory', [], () => {
    const source = readPolicyDirectory(directory, options.adapter)
    const jax = basename(source.weightsPath) === 'params' ? ' with JAX (Orbax) weights' : ''
    return found(source, `${LAYOUTS[source.layout]}${jax}: ${source.directory}`)
  })
  checks.run('digests', [source], source => {
    const count = checkDigests(source, read.digests)
    return found(count, count === 0 ? 'none listed' : `${count} agree`)
  })
  const profile = checks.run('config', [source], source => {
    const profile =
      source.layout === 'lerobot' ? lerobotConventions(source, options) : openpiConventions(source, options)
    return found(profile, `${profile.name}, embodiment ${profile.embodiment.name}`)
  })
  for (const note of profile?.notes ?? []) {
    checks.note('config', note)
    options.onNote?.(note)
  }
  const model = inspectNetwork(source, profile, options, checks)
  checks.run('embodiment', [profile, model], ({ embodiment }, model) => {
    checkEmbodiment(embodiment, model)
    const cameras = embodiment.cameras.filter(camera => camera.slot !== null).length
    return found(
      true,
      `${cameras} cameras, state ${stateSizeOf(embodiment)}, action ${embodiment.actionSize}`,
    )
  })
  const normalisation = checks.run('normalisation', [profile, model], (profile, model) => {
    const kind: Normalisation = variantOf(model).normalisation
    const value = profile.normalisation ?? { state: kind, actions: kind }
    return found(
      value,
      `${value.state} for the state, ${value.actions} for actions, as ${profile.convention}`,
    )
  })
  const stats = inspectStats(profile, model, normalisation, checks)
  const tokenizer = checks.run('tokenizer', [profile, model], ({ tokenizerPath }, { vocabSize }) => {
    const file = read.tokenizer?.path === tokenizerPath ? read.tokenizer.file : readTokenizer(tokenizerPath)
    const tokenizer = tokenizerOf(file)
    if (tokenizer.textVocabSize > vocabSize || tokenizer.vocabSize < vocabSize)
      throw new TurboPiError(
        'TOKENIZER_INVALID',
        `${tokenizerPath} has ${tokenizer.vocabSize} tokens, the checkpoint's embedding ${vocabSize}; it is another model's tokenizer. Give the right one with --tokenizer.`,
      )
    return found({ tokenizer, digest: file.digest }, `${tokenizer.vocabSize} tokens: ${tokenizerPath}`)
  })
  const promptForm = checks.run('prompt form', [profile, model], (profile, model) => {
    const form: PromptForm = profile.promptForm ?? (variantOf(model).stateToken ? 'plain' : 'state')
    if (form === 'state' && variantOf(model).stateToken)
      throw refuse(
        'The state cannot be written into the prompt of a pi0 model, which takes it as a token; set "discreteState" to false.',
      )
    return found(
      form,
      PROMPT_FORMS[form] +
        (form !== 'state' && !variantOf(model).stateToken ? '; the state does not reach the network' : ''),
    )
  })
  checks.run('guard', [profile, stats], ({ guard, embodiment }, stats) =>
    found(true, new Guard(stats, { ...DEFAULT_GUARD, ...guard }, embodiment).description),
  )
  if (!source || !profile || !model || !normalisation || !stats || !tokenizer || !promptForm || checks.failed)
    return undefined
  return {
    name: profile.name,
    model,
    weightsPath: source.weightsPath,
    adapterPath: source.adapterPath,
    embodiment: profile.embodiment,
    promptForm,
    paddedPromptState: profile.paddedPromptState,
    stats,
    normalisation: { ...normalisation, convention: profile.convention },
    tokenizer: tokenizer.tokenizer,
    tokenizerDigest: tokenizer.digest,
    resize: profile.resize,
    maxImagePixels: options.maxImagePixels ?? MAX_IMAGE_PIXELS,
    guard: { ...DEFAULT_GUARD, ...profile.guard },
    defaultPrompt: profile.defaultPrompt,
    defaultSteps: profile.defaultSteps,
    metadata: profile.metadata,
  }
}

const PROMPT_FORMS: Readonly<Record<PromptForm, string>> = {
  state: 'Task: …, State: …;',
  plain: 'the prompt, cleaned, and a newline',
  line: 'the prompt as it is, and a newline',
}

const LACKING: Readonly<Record<Normalisation, (name: string) => string>> = {
  quantile: name =>
    `no q01 and q99, which ${name} needs (quantile normalisation). The statistics were made for z-score: compute them anew, or name the right config.`,
  zscore: name =>
    `no mean and std, which ${name} needs (z-score normalisation). The statistics are percentiles alone: compute them anew.`,
}

const LAYOUTS = { manifest: 'policy.json', openpi: 'openpi checkpoint', lerobot: 'LeRobot checkpoint' }

function inspectStats(
  profile: TrainingConventions | undefined,
  model: ModelConfig | undefined,
  normalisation: { state: Normalisation; actions: Normalisation } | undefined,
  checks: Checks,
): NormStats | undefined {
  const stats = checks.run('norm stats', [profile, normalisation], (profile, normalisation) => {
    const { path, read } = profile.stats
    const stats = read()
    for (const feature of ['state', 'actions'] as const) {
      const { mean, q01, q99 } = stats[feature]
      const kind = normalisation[feature]
      if (kind === 'quantile' ? !(q01 && q99) : !mean)
        throw new TurboPiError('NORM_STATS_INVALID', `${path}: ${feature} has ${LACKING[kind](profile.name)}`)
      new Normaliser(stats[feature], normalisation[feature], profile.convention)
    }
    return found(stats, path)
  })
  for (const feature of ['state', 'actions'] as const)
    checks.run(`${feature} statistics`, [profile, model, stats], (profile, model, stats) => {
      const { embodiment } = profile
      const size = feature === 'state' ? stateSizeOf(embodiment) : embodiment.actionSize
      checkStatsLength(stats[feature], feature, size, model.actionDim, profile.stats.path)
      return found(true, `${size} numbers`)
    })
  return stats
}
