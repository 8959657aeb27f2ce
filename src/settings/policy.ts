import { basename, resolve } from 'node:path'
import { choice, directory, file, integer, type Setting, settings, text } from './kinds.js'

/** A policy directory and the name under which it is served. */
export interface NamedDirectory {
  name: string
  directory: string
}

/** `name=DIR`, of which the name stands in addresses and metrics; a `/` before the `=` belongs to a directory. */
const NAMED = /^([A-Za-z0-9][\w.-]{0,62})=(.*)$/

/** A directory without a name is called after its last folder. */
function namedDirectories(value: string): NamedDirectory[] {
  const named = value.split(',').map(text => {
    const [, name, directory = text.trim()] = NAMED.exec(text.trim()) ?? []
    if (directory === '') throw new Error('a directory or name=directory, several separated by commas')
    return { name: name ?? servedName(basename(resolve(directory))), directory }
  })
  if (new Set(named.map(({ name }) => name)).size < named.length)
    throw new Error('policies of different names: give each one as name=directory')
  return named
}

/** A text made fit for addresses. */
export const servedName = (text: string) =>
  text
    .replaceAll(/[^\w.-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 63) || 'policy'

const policy: Setting<readonly NamedDirectory[]> = {
  default: [],
  otherwise: 'the bundled one',
  takes: '[NAME=]DIR',
  offers: 'directories',
  meaning:
    'policy directory. Several as name=DIR each: the first is served at /, every one under /policies/<name>/',
  multiple: true,
  schema: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] },
  parse: namedDirectories,
}

/** What is served. */
export const POLICY_SETTINGS = settings('Policy', {
  policy,
  config: text({
    takes: 'NAME',
    meaning:
      'openpi’s name of the training config of a checkpoint directory without policy.json, for example pi05_libero (a file of settings is --config-file)',
  }),
  adapter: directory({
    meaning: 'folder of a PEFT adapter (LoRA) that is merged into the policy’s weights',
  }),
  normStats: file({ meaning: 'norm_stats.json, when the checkpoint directory has none' }),
  tokenizer: file({ meaning: 'tokenizer file (.model or tokenizer.json), when the directory has none' }),
  defaultPrompt: text({ meaning: 'prompt of observations that carry none' }),
  randomWeights: choice({
    default: 'off',
    choices: ['off', 'pi05', 'pi0'],
    meaning:
      'instead of a policy, seeded random weights of a released model’s full size: for measuring, the actions mean nothing',
  }),
  maxImagePixels: integer({
    default: 2 ** 22,
    min: 1,
    max: 2 ** 30,
    unit: 'pixels',
    meaning: 'that an image may have, checked before decoding; cameras of 2560 × 1440 have fewer',
  }),
})

/** What is done with actions that look wrong. */
export const GUARD_SETTINGS = settings('Guard', {
  guard: choice({
    default: 'auto',
    choices: ['auto', 'report', 'clamp', 'refuse', 'hold'],
    meaning:
      'what to do with what the guards find; hold refuses until the robot is cleared; auto is what policy.json says, else report',
  }),
  guardMargin: integer({
    default: -1,
    min: -1,
    max: 10_000,
    unit: '%',
    meaning: 'of q99 − q01: width of the guard’s margin; -1 takes the policy’s, else 50',
  }),
})
