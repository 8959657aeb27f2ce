import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { TurboPiError } from '../../errors.js'
import type { ModelType } from '../../families/pi0/variant.js'
import { readConfig } from './directory.js'
import { fileInside } from './files.js'

export type Json = Record<string, unknown>

export const refuse = (detail: string) => new TurboPiError('POLICY_INVALID', detail)
export const record = (value: unknown): Json =>
  typeof value === 'object' && value !== null ? (value as Json) : {}

/** The settings of each step that this server takes the meaning of; LeRobot itself refuses unknown ones. */
const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  rename_observations_processor: ['rename_map'],
  to_batch_processor: [],
  relative_actions_processor: ['enabled', 'exclude_joints', 'action_names'],
  normalizer_processor: ['eps', 'features', 'norm_map', 'normalize_observation_keys'],
  pi05_prepare_state_tokenizer_processor_step: ['max_state_dim', 'task_key', 'include_state_in_prompt'],
  pi0_new_line_processor: [],
  tokenizer_processor: ['max_length', 'task_key', 'padding_side', 'padding', 'truncation', 'tokenizer_name'],
  device_processor: ['device', 'float_dtype'],
  unnormalizer_processor: ['eps', 'features', 'norm_map', 'normalize_observation_keys'],
  absolute_actions_processor: ['enabled'],
}

/** What a pipeline must hold, and sequences that its steps must keep; a step may stand in two. */
interface Sequence {
  required: readonly string[]
  orders: readonly (readonly string[])[]
}

const PROMPT = 'pi05_prepare_state_tokenizer_processor_step'
const STATE_ORDER = [
  'rename_observations_processor',
  'to_batch_processor',
  'relative_actions_processor',
  'normalizer_processor',
]
const PREPROCESSORS: Readonly<Record<ModelType, Sequence>> = {
  pi05: {
    required: ['normalizer_processor', PROMPT, 'tokenizer_processor'],
    orders: [[...STATE_ORDER, PROMPT, 'tokenizer_processor']],
  },
  pi0: {
    required: ['normalizer_processor', 'pi0_new_line_processor', 'tokenizer_processor'],
    orders: [STATE_ORDER, ['to_batch_processor', 'pi0_new_line_processor', 'tokenizer_processor']],
  },
}
const POSTPROCESSOR: Sequence = {
  required: ['unnormalizer_processor'],
  orders: [['unnormalizer_processor', 'absolute_actions_processor']],
}
/** Moves tensors and changes nothing, so it may stand anywhere, and more than once. */
const DEVICE = 'device_processor'

interface Step {
  config: Json
  stateFile: string | undefined
}

/** A saved processor pipeline: its steps' settings, and the files of their state. */
export class SavedProcessors {
  readonly path: string
  readonly #directory: string
  readonly #steps = new Map<string, Step>()

  /** Throws POLICY_INVALID for steps, settings and orders that would change a number in a way this server does not know. */
  constructor(directory: string, file: string, { required, orders }: Sequence) {
    this.#directory = directory
    this.path = join(directory, file)
    if (!existsSync(this.path))
      throw new TurboPiError(
        'NORM_STATS_INVALID',
        `${this.path} is missing; it holds the normalisation of a LeRobot checkpoint, without which every action would be wrong.\nCopy the policy's whole folder; LeRobot writes the file for checkpoints of before its processors: python src/lerobot/processor/migrate_policy_normalization.py --pretrained-path FOLDER`,
      )
    const { steps } = readConfig(this.path)
    if (!Array.isArray(steps)) throw refuse(`${this.path}: expected a list "steps".`)
    const known = [...new Set([...orders.flat(), DEVICE])]
    for (const step of steps as Json[]) this.#add(record(step), known)
    for (const name of required)
      if (!this.#steps.has(name))
        throw refuse(`${this.path}: the step ${name} is missing; LeRobot saves it for this kind of policy.`)
    for (const order of orders) this.#checkOrder(order)
  }

  #add(step: Json, known: readonly string[]): void {
    const name = step['registry_name'] ?? step['class']
    if (typeof name !== 'string' || !known.includes(name))
      throw refuse(
        `${this.path}: the step ${typeof name === 'string' ? name : JSON.stringify(name)} is not supported; known are ${known.join(', ')}.`,
      )
    if (this.#steps.has(name) && name !== DEVICE)
      throw refuse(`${this.path}: the step ${name} stands there twice; this server applies it once.`)
    const config = record(step['config'])
    const unknown = Object.keys(config).find(
      setting => !(Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined)?.includes(setting),
    )
    if (unknown !== undefined)
      throw refuse(`${this.path}: the setting ${unknown} of the step ${name} is not supported.`)
    const type = config['float_dtype'] ?? 'float32'
    if (name === DEVICE && type !== 'float32')
      throw refuse(
        `${this.path}: float_dtype of the step ${name} is ${JSON.stringify(type)}; observations are float32 here.`,
      )
    const stateFile = step['state_file']
    this.#steps.set(name, { config, stateFile: typeof stateFile === 'string' ? stateFile : undefined })
  }

  #checkOrder(order: readonly string[]): void {
    const saved = [...this.#steps.keys()].filter(name => order.includes(name))
    const expected = order.filter(name => this.#steps.has(name))
    const wrong = expected.findIndex((name, i) => saved[i] !== name)
    if (wrong >= 0)
      throw refuse(
        `${this.path}: the step ${saved[wrong]} stands before ${expected[wrong]}; supported is the order ${order.join(', ')}.`,
      )
  }

  config(step: string): Json {
    return this.#steps.get(step)?.config ?? {}
  }

  /** Throws POLICY_INVALID when a setting is none of the values that the server computes with; absent is the first. */
  require(step: string, setting: string, ...values: unknown[]): void {
    const value = this.config(step)[setting] ?? values[0]
    if (!values.includes(value))
      throw refuse(
        `${this.path}: ${setting} of the step ${step} is ${JSON.stringify(value)}; supported is ${values.map(v => JSON.stringify(v)).join(' or ')}.`,
      )
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

/** What prepares observations. Settings that would change the prompt or leave the state as it is are refused by name. */
export function readPreprocessor(directory: string, modelType: ModelType): SavedProcessors {
  const saved = new SavedProcessors(directory, 'policy_preprocessor.json', PREPROCESSORS[modelType])
  saved.require(PROMPT, 'include_state_in_prompt', true)
  saved.require(PROMPT, 'task_key', 'task')
  saved.require('tokenizer_processor', 'task_key', 'task')
  saved.require('tokenizer_processor', 'padding_side', 'right')
  // Padding is masked: how much of it there is changes nothing.
  saved.require('tokenizer_processor', 'padding', 'max_length', 'longest')
  saved.require('tokenizer_processor', 'truncation', true, 'longest_first')
  const { features, normalize_observation_keys: keys } = saved.config('normalizer_processor')
  const state = record(record(features)['observation.state'])
  if (state['type'] !== 'STATE')
    throw refuse(
      `${saved.path}: features of the step normalizer_processor has no observation.state of type STATE; LeRobot would not normalise the state, which is not supported.`,
    )
  if (keys !== undefined && keys !== null && !(Array.isArray(keys) && keys.includes('observation.state')))
    throw refuse(
      `${saved.path}: normalize_observation_keys of the step normalizer_processor leaves observation.state out; a state that is not normalised is not supported.`,
    )
  return saved
}

/** What makes actions of the network's answer. */
export const readPostprocessor = (directory: string): SavedProcessors =>
  new SavedProcessors(directory, 'policy_postprocessor.json', POSTPROCESSOR)
