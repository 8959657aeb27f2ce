import { join } from 'node:path'
import { TurboPiError } from '../../errors.js'
import { variantOf } from '../../families/pi0/variant.js'
import { EMBODIMENTS } from '../../policy/embodiment.js'
import { fileInside } from '../../policy/loading/files.js'
import type { Manifest } from '../../policy/loading/manifest.js'
import { PRESETS, presetOf } from '../../policy/loading/presets.js'
import { oneOf, wholeNumber } from '../../settings/kinds.js'
import { NONE, YES, yesOrNo } from './answers.js'
import type { GivenCheckpoint } from './given-checkpoint.js'
import type { Interview } from './interview.js'
import { OF_A_ROBOT, type Own, refuseOptions } from './options.js'
import { askRobot } from './robot.js'

/** Fields of a policy.json for one kind of checkpoint. */
export interface Part {
  fields: Partial<Manifest>
  actionSize: number
}

/** The config that an openpi checkpoint was trained with, or the robot and what else a config would say. Throws CONFIG_INVALID. */
export async function askOpenpi(interview: Interview, own: Own, given: GivenCheckpoint): Promise<Part> {
  refuseOptions(own, 'question is of LeRobot checkpoints alone', ['paddedState'])
  const { presets } = given
  const ofRobot = own.camera.length > 0 ? NONE : undefined
  const config = await interview.ask({
    flag: 'config',
    text: `openpi config that it was trained with (${presets.length ? `it may be ${presets.join(', ')}; ` : ''}${NONE}: a robot of your own)`,
    given: own.config ?? ofRobot,
    // One of several would be a guess.
    ...(presets.length === 1 && { otherwise: presets[0]! }),
    read: presetNamed,
  })
  if (config !== undefined) return askPreset(interview, own, given, config)
  const actionHorizon = await askHorizon(interview, own, given)
  const normStats = await askStats(interview, own, given)
  const embodiment = await askRobot(interview, own, given, join(given.source.directory, normStats))
  const stateInPrompt = !variantOf(given.model).stateToken
  const discreteState = stateInPrompt && (await askDiscreteState(interview, own))
  return {
    fields: {
      embodiment,
      normStats,
      ...(stateInPrompt && { discreteState }),
      ...(actionHorizon !== undefined && { actionHorizon }),
    },
    actionSize: embodiment.actionSize,
  }
}

function presetNamed(answer: string): string | undefined {
  if (answer === NONE) return undefined
  presetOf(answer)
  return answer
}

/** A preset says all, but where the checkpoint's own files are other than it expects. */
async function askPreset(
  interview: Interview,
  own: Own,
  given: GivenCheckpoint,
  config: string,
): Promise<Part> {
  refuseOptions(own, `config ${config} says it`, OF_A_ROBOT)
  const preset = PRESETS[config]!
  const expected = join('assets', preset.assetId, 'norm_stats.json')
  const normStats =
    own.normStats === undefined && given.stats.includes(expected)
      ? undefined
      : await askStats(interview, own, given)
  const differs = given.horizonIsKnown && given.model.actionHorizon !== preset.actionHorizon
  const actionHorizon =
    differs || own.horizon !== undefined ? await askHorizon(interview, own, given, true) : undefined
  return {
    fields: {
      config,
      ...(normStats !== undefined && { normStats }),
      ...(actionHorizon !== undefined && { actionHorizon }),
    },
    actionSize: EMBODIMENTS[preset.embodiment].actionSize,
  }
}

/** Undefined where the checkpoint says it. */
async function askHorizon(
  interview: Interview,
  own: Own,
  { horizonIsKnown, model }: GivenCheckpoint,
  always = false,
): Promise<number | undefined> {
  if (horizonIsKnown && !always && own.horizon === undefined) return undefined
  return interview.ask({
    flag: 'horizon',
    text: `Rows of an action chunk${horizonIsKnown ? ` (config.json says ${model.actionHorizon}, the preset something else)` : ''}`,
    given: own.horizon,
    ...(horizonIsKnown && { otherwise: String(model.actionHorizon) }),
    read: answer => wholeNumber(answer, 1, 1000),
  })
}

async function askStats(interview: Interview, own: Own, { source, stats }: GivenCheckpoint): Promise<string> {
  const { directory } = source
  if (stats.length === 0 && own.normStats === undefined)
    throw new TurboPiError(
      'NORM_STATS_INVALID',
      `${directory} has no norm_stats.json; without it every action would be wrong.\nCopy it there from the original checkpoint's assets.`,
    )
  return interview.ask({
    flag: 'norm-stats',
    text: `Statistics (${stats.join(', ')})`,
    given: own.normStats ?? (stats.length === 1 ? stats[0] : undefined),
    read: answer => {
      if (own.normStats === undefined) return oneOf(answer, stats)
      fileInside(directory, answer, '--norm-stats')
      return answer
    },
  })
}

const askDiscreteState = (interview: Interview, own: Own) =>
  interview.ask({
    flag: 'discrete-state',
    text: 'Is the state written into the prompt (openpi: discrete_state_input)',
    given: own.discreteState,
    otherwise: YES,
    read: yesOrNo,
  })
