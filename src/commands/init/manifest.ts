import { variantOf } from '../../families/pi0/variant.js'
import { POLICY_SCHEMA_ID } from '../../policy/json-schemas.js'
import { lerobotConventions } from '../../policy/loading/lerobot.js'
import type { Manifest } from '../../policy/loading/manifest.js'
import { NO, nonEmpty, yesOrNo } from './answers.js'
import { type GivenCheckpoint, namesIn } from './given-checkpoint.js'
import type { Interview } from './interview.js'
import { askJoints } from './joints.js'
import { askOpenpi, type Part } from './openpi.js'
import { OF_A_ROBOT, type Own, refuseOptions } from './options.js'

/** Asks for what a checkpoint does not say of itself. Throws CONFIG_INVALID. */
export async function askManifest(interview: Interview, own: Own, given: GivenCheckpoint): Promise<Manifest> {
  const name = await interview.ask({
    flag: 'name',
    text: 'Name of the policy',
    given: own.name,
    otherwise: given.name,
    read: nonEmpty,
  })
  const { fields, actionSize } =
    given.source.layout === 'lerobot'
      ? await askLerobot(interview, own, given)
      : await askOpenpi(interview, own, given)
  const defaultPrompt = await interview.ask({
    flag: 'default-prompt',
    text: 'Prompt of observations that carry none (empty: each must carry one)',
    given: own.defaultPrompt,
    otherwise: '',
    read: answer => answer,
  })
  const joints = await askJoints(interview, own, actionSize, namesIn(given))
  return {
    $schema: POLICY_SCHEMA_ID,
    format: 'turbo-pi.policy/1',
    name,
    ...fields,
    ...(joints && { joints }),
    ...(defaultPrompt && { defaultPrompt }),
  }
}

/** LeRobot's own files say all but one thing. */
async function askLerobot(interview: Interview, own: Own, { source, model }: GivenCheckpoint): Promise<Part> {
  refuseOptions(own, 'LeRobot checkpoint says it itself', ['config', 'horizon', 'normStats', ...OF_A_ROBOT])
  const { embodiment } = lerobotConventions(source, {})
  if (variantOf(model).stateToken) return { fields: {}, actionSize: embodiment.actionSize }
  const padded = await interview.ask({
    flag: 'padded-state',
    text: 'Was it trained with LeRobot 0.4.0 to 0.4.4 (before March 2026)',
    given: own.paddedState,
    otherwise: NO,
    read: yesOrNo,
  })
  return { fields: padded ? { paddedPromptState: true } : {}, actionSize: embodiment.actionSize }
}
