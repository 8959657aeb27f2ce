import { TurboPiError } from '../../errors.js'
import { flag, readOptions, text, texts } from '../kit/options.js'

export const help = `turbo-pi init DIR [options]

Writes DIR/policy.json for a checkpoint: what it says of itself is taken, and what it does not say is asked for, on a terminal,
or given by options. Then it runs the checks of "turbo-pi doctor DIR".

  --name NAME            name of the policy [the folder's]
  --config NAME          openpi config that it was trained with, for example pi05_libero; "none" for a robot of your own
  --horizon N            rows of an action chunk, where the checkpoint does not say
  --norm-stats FILE      which norm_stats.json, by its path in DIR, where there are several
  --default-prompt TEXT  prompt of observations that carry none
  --padded-state yes|no  LeRobot: trained by a version of before March 2026, which wrote the padded state into the prompt [no]
  --joint NAME[:UNIT[:MIN..MAX]]  a joint's name, unit and limits, for the guard; once for each number of an action, in order
  --yes                  ask nothing that has an answer of its own

For a robot of your own (--config none):

  --robot NAME           its name [the folder's]
  --camera SLOT=KEY      key of the camera in an observation (a dot nests); KEY? when it may be missing; several times
  --state KEY:SIZE[:DESCRIPTION],…  parts of the state, in the order of training [observation/state:N]
  --prompt-key KEY       key of the prompt [prompt]
  --offsets 6,-1|none    which numbers of an action are offsets from the state, as of openpi's make_bool_mask
  --discrete-state yes|no  pi0.5: the state is written into the prompt [yes]`

const OPTIONS = {
  name: text(),
  config: text(),
  horizon: text(),
  'norm-stats': text(),
  'default-prompt': text(),
  'padded-state': text(),
  joint: texts(),
  yes: flag(),
  robot: text(),
  camera: texts(),
  state: text(),
  'prompt-key': text(),
  offsets: text(),
  'discrete-state': text(),
}

export const readOwn = (argv: string[]) => readOptions(argv, OPTIONS, help, { allowPositionals: true })

export type Own = ReturnType<typeof readOwn>['own']

/** Those of a robot that is not built in. */
export const OF_A_ROBOT = ['robot', 'camera', 'state', 'prompt-key', 'offsets', 'discrete-state'] as const

/** Options that this checkpoint leaves nothing to say by. Throws CONFIG_INVALID. */
export function refuseOptions(own: Own, why: string, options: readonly (keyof Own)[]): void {
  const one = options.find(name => {
    const value = own[name]
    return Array.isArray(value) ? value.length > 0 : value !== undefined
  })
  if (one !== undefined)
    throw new TurboPiError('CONFIG_INVALID', `--${one} is not for this one: the ${why}. Leave it out.`)
}
