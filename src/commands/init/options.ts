import { TurboPiError } from '../../errors.js'
import { flag, flagOf, grouped, text, texts, type Values } from '../../settings/kinds.js'
import type { Description } from '../kit/description.js'
import { NO, YES } from './answers.js'

export const OPTIONS = {
  name: text({ takes: 'NAME', otherwise: 'the folder’s', meaning: 'name of the policy' }),
  config: text({
    takes: 'NAME',
    meaning:
      'openpi config that it was trained with, for example pi05_libero; "none" for a robot of your own',
  }),
  horizon: text({ takes: 'N', meaning: 'rows of an action chunk, where the checkpoint does not say' }),
  normStats: text({
    takes: 'FILE',
    offers: 'files',
    meaning: 'which norm_stats.json, by its path in DIR, where there are several',
  }),
  defaultPrompt: text({ meaning: 'prompt of observations that carry none' }),
  paddedState: text({
    takes: 'yes|no',
    otherwise: NO,
    offers: [YES, NO],
    meaning:
      'LeRobot: trained by a version of before March 2026, which wrote the padded state into the prompt',
  }),
  joint: texts({
    takes: 'NAME[:UNIT[:MIN..MAX]]',
    meaning: 'a joint’s name, unit and limits, for the guard; once for each number of an action, in order',
  }),
  yes: flag({ meaning: 'ask nothing that has an answer of its own' }),
  ...grouped('For a robot of your own (--config none)', {
    robot: text({ takes: 'NAME', otherwise: 'the folder’s', meaning: 'its name' }),
    camera: texts({
      takes: 'SLOT=KEY',
      meaning: 'key of the camera in an observation (a dot nests); KEY? when it may be missing',
    }),
    state: text({
      takes: 'KEY:SIZE[:DESCRIPTION],…',
      otherwise: 'observation/state:N',
      meaning: 'parts of the state, in the order of training',
    }),
    promptKey: text({ takes: 'KEY', otherwise: 'prompt', meaning: 'key of the prompt' }),
    offsets: text({
      takes: '6,-1|none',
      meaning: 'which numbers of an action are offsets from the state, as of openpi’s make_bool_mask',
    }),
    discreteState: text({
      takes: 'yes|no',
      otherwise: YES,
      offers: [YES, NO],
      meaning: 'pi0.5: the state is written into the prompt',
    }),
  }),
}

export const DESCRIPTION = {
  name: 'init',
  forms: ['DIR [options]'],
  about: `
Writes DIR/policy.json for a checkpoint: what it says of itself is taken, and what it does not say is asked for, on a terminal,
or given by options. Then it runs the checks of "turbo-pi doctor DIR".`,
  positionals: { least: 1, most: 1, what: 'one directory', offers: 'directories' },
  options: OPTIONS,
  settings: {},
} as const satisfies Description

export type Own = Values<typeof OPTIONS>

/** Those of a robot that is not built in. */
export const OF_A_ROBOT = ['robot', 'camera', 'state', 'promptKey', 'offsets', 'discreteState'] as const

/** Options that this checkpoint leaves nothing to say by. Throws CONFIG_INVALID. */
export function refuseOptions(own: Own, why: string, options: readonly (keyof Own)[]): void {
  const one = options.find(name => {
    const value = own[name]
    return Array.isArray(value) ? value.length > 0 : value !== undefined
  })
  if (one !== undefined)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--${flagOf(one)} is not for this one: the ${why}. Leave it out.`,
    )
}
