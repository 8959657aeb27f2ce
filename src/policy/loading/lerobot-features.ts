import { Safetensors } from '../../storage/safetensors.js'
import type { Embodiment } from '../embodiment.js'
import { type Json, record, refuse, type SavedProcessors } from './lerobot-processors.js'

const SLOTS = ['base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb']
const STATE = 'observation.state'

/**
 * What the robot sends, from config.json and the saved processors. Cameras fill the slots in the order of config.json.
 * LeRobot masks those that an observation lacks: fine-tunes keep the cameras of their base model, whichever they have.
 */
export function lerobotEmbodiment(
  config: Json,
  path: string,
  input: SavedProcessors,
  output: SavedProcessors,
): Embodiment {
  const features = Object.entries(record(config['input_features'])).map(([key, value]) => ({
    ...record(value),
    key,
  }))
  const sourceOf = renamed(input)
  const cameras = features.filter(
    feature => (feature as Json)['type'] === 'VISUAL' && !feature.key.includes('empty_camera_'),
  )
  if (cameras.length === 0 || cameras.length > SLOTS.length)
    throw refuse(`${path}: input_features names ${cameras.length} cameras; one to three are supported.`)
  const state = features.find(({ key }) => key === STATE)
  if (!state) throw refuse(`${path}: input_features has no ${STATE}.`)
  const actionSize = sizeOf(record(config['output_features'])['action'], 'output_features.action', path)
  const stateSize = sizeOf(state, `input_features["${STATE}"]`, path)
  return {
    format: 'turbo-pi.embodiment/1',
    name: 'lerobot',
    cameras: cameras.map(({ key }, i) => ({
      key: sourceOf(key),
      slot: SLOTS[i] as string,
      required: false,
      layout: 'chw',
      description: `camera ${key.replace('observation.images.', '')}`,
    })),
    state: [
      {
        key: sourceOf(STATE),
        size: trainedSize(config, stateSize, input),
        description: 'state of the robot',
      },
    ],
    promptKey: 'task',
    actionSize,
    ...(isRelative(input, output) && { deltaMask: relativeMask(input, actionSize) }),
  }
}

/** The robot's own name of a feature, before the rename step. Throws POLICY_INVALID for two names of one feature. */
function renamed(input: SavedProcessors): (feature: string) => string {
  const sources = new Map<string, string>()
  for (const [from, to] of Object.entries(
    record(input.config('rename_observations_processor')['rename_map']),
  )) {
    if (typeof to !== 'string')
      throw refuse(`${input.path}: rename_map gives ${from} the name ${JSON.stringify(to)}; expected text.`)
    const other = sources.get(to)
    if (other !== undefined)
      throw refuse(`${input.path}: rename_map gives ${other} and ${from} the same name ${to}.`)
    sources.set(to, from)
  }
  return feature => sources.get(feature) ?? feature
}

function sizeOf(feature: unknown, name: string, path: string): number {
  const shape = record(feature)['shape']
  if (Array.isArray(shape) && shape.length === 1 && Number.isInteger(shape[0])) return shape[0] as number
  throw refuse(`${path}: ${name} must have a shape [n], got ${JSON.stringify(shape)}.`)
}

/** A base model's config.json only says how wide its state may be; how many numbers it had in training, the statistics know. */
function trainedSize(config: Json, size: number, input: SavedProcessors): number {
  if (size !== (config['max_state_dim'] ?? 32)) return size
  const store = Safetensors.open(input.stateFile('normalizer_processor'))
  try {
    const stat = ['mean', 'q01'].find(stat => store.tensors.has(`${STATE}.${stat}`))
    const shape = stat === undefined ? undefined : store.tensors.get(`${STATE}.${stat}`)?.shape
    return shape?.length === 1 && (shape[0] as number) < size ? (shape[0] as number) : size
  } finally {
    store.close()
  }
}

/** Only the postprocessor makes actions absolute, from the state that its partner has kept. */
function isRelative(input: SavedProcessors, output: SavedProcessors): boolean {
  const made = input.config('relative_actions_processor')['enabled'] === true
  const undone = output.config('absolute_actions_processor')['enabled'] === true
  if (made === undone) return made
  throw refuse(
    `${output.path}: relative actions are ${undone ? 'on' : 'off'}, but ${made ? 'on' : 'off'} in ${input.path}; the files do not belong together.`,
  )
}

/** Joints whose name contains an excluded one stay absolute. */
function relativeMask(input: SavedProcessors, size: number): boolean[] {
  const step = input.config('relative_actions_processor')
  const [excluded, names] = ['exclude_joints', 'action_names'].map(setting => {
    const list = step[setting] ?? []
    if (Array.isArray(list) && list.every(name => typeof name === 'string'))
      return list.map(name => name.toLowerCase())
    throw refuse(`${input.path}: ${setting} of the step relative_actions_processor must be a list of names.`)
  }) as [string[], string[]]
  return Array.from({ length: size }, (_, i) => {
    const name = names[i]
    return name === undefined || !excluded.some(joint => joint !== '' && name.includes(joint))
  })
}
