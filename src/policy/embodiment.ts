import { type Static, Type } from 'typebox'
import type { ObservationSpec } from '../contract/observation.js'
import { compileCheck } from '../contract/validate.js'
import { TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import { readChecked } from './checked-json.js'

const closed = { additionalProperties: false } as const

const Camera = Type.Object(
  {
    key: Type.String({
      minLength: 1,
      description: 'where it stands in the observation; a dot nests (images.cam_high)',
    }),
    slot: Type.Union([Type.String(), Type.Null()], {
      description: 'slot of the network that it fills; null when it is accepted and ignored',
    }),
    required: Type.Boolean({ description: 'false: a missing camera is masked' }),
    layout: Type.Union([Type.Literal('hwc'), Type.Literal('chw')], {
      description: 'of raw arrays whose first and last dimension are both 3',
    }),
    description: Type.String(),
  },
  closed,
)

const StatePart = Type.Object(
  {
    key: Type.String({ minLength: 1 }),
    size: Type.Integer({ minimum: 1, maximum: 1024, description: 'numbers; parts are joined in order' }),
    description: Type.String(),
  },
  closed,
)

const Joint = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 100 }),
    unit: Type.Optional(Type.String({ minLength: 1, maxLength: 20 })),
    min: Type.Optional(Type.Number({ description: 'least position' })),
    max: Type.Optional(Type.Number({ description: 'largest position' })),
    step: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'most from one row to the next' })),
    first: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        description: 'most from the state of the same index to the first row',
      }),
    ),
    seam: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        description: 'most from the action of the chunk before that was due to the first row',
      }),
    ),
    moves: Type.Optional(
      Type.Union([Type.Literal('by'), Type.Literal('to')], {
        description:
          'what the action does to the state of the same index: moves it by so much, or to that value; a joint that it should move and that stands still is stuck',
      }),
    ),
  },
  closed,
)

export const JointsSchema = Type.Array(Joint, {
  description: 'one a number of the action: names and limits for the guard',
})

export type Joints = Static<typeof JointsSchema>

/** `$schema` of a JSON file: the schema that an editor checks it against. The server knows its own. */
export const SchemaReference = Type.Optional(
  Type.String({ description: 'the schema of this file, for editors' }),
)

/** What a robot's observation is and what its actions are: the JSON descriptor of an embodiment. */
export const EmbodimentSchema = Type.Object(
  {
    $schema: SchemaReference,
    format: Type.Literal('turbo-pi.embodiment/1'),
    name: Type.String({ minLength: 1 }),
    cameras: Type.Array(Camera, { minItems: 1, maxItems: 16 }),
    state: Type.Array(StatePart, { minItems: 1, maxItems: 32 }),
    promptKey: Type.String({ minLength: 1 }),
    actionSize: Type.Integer({ minimum: 1, maximum: 1024, description: 'numbers of a robot action' }),
    deltaMask: Type.Optional(
      Type.Array(Type.Boolean(), {
        description: 'true where the policy’s action is an offset from the state of the same index',
      }),
    ),
    joints: Type.Optional(JointsSchema),
    jointTransform: Type.Optional(
      Type.Literal('aloha', { description: 'named conversion between robot and training joint space' }),
    ),
  },
  closed,
)

export type Embodiment = Static<typeof EmbodimentSchema>

const camera = (key: string, slot: string | null, description: string, more: object = {}) => ({
  key,
  slot,
  description,
  required: true,
  layout: 'hwc' as const,
  ...more,
})

const format = 'turbo-pi.embodiment/1'
const aloha = { layout: 'chw' as const }
const moves = <M extends 'by' | 'to'>(how: M, names: readonly string[], unit?: string) =>
  names.map(name => ({ name, ...(unit !== undefined && { unit }), moves: how }))
const alohaArm = (side: string) => [
  ...moves(
    'to',
    ['waist', 'shoulder', 'elbow', 'forearm roll', 'wrist angle', 'wrist rotate'].map(
      name => `${side} ${name}`,
    ),
    'rad',
  ),
  { name: `${side} gripper` },
]

/** The robots of network §4.5. */
export const EMBODIMENTS = {
  libero: {
    format,
    name: 'libero',
    cameras: [
      camera('observation/image', 'base_0_rgb', 'third-person camera, rotated by 180°'),
      camera('observation/wrist_image', 'left_wrist_0_rgb', 'wrist camera, rotated by 180°'),
    ],
    state: [
      {
        key: 'observation/state',
        size: 8,
        description: 'end effector position (3), axis-angle orientation (3), gripper fingers (2)',
      },
    ],
    promptKey: 'prompt',
    actionSize: 7,
    joints: [...moves('by', ['x', 'y', 'z', 'roll', 'pitch', 'yaw']), { name: 'gripper' }],
  },
  droid: {
    format,
    name: 'droid',
    cameras: [
      camera('observation/exterior_image_1_left', 'base_0_rgb', 'left exterior camera'),
      camera('observation/wrist_image_left', 'left_wrist_0_rgb', 'left wrist camera'),
    ],
    state: [
      { key: 'observation/joint_position', size: 7, description: 'joint angles in radians' },
      { key: 'observation/gripper_position', size: 1, description: 'gripper, 0 open to 1 closed' },
    ],
    promptKey: 'prompt',
    actionSize: 8,
  },
  aloha: {
    format,
    name: 'aloha',
    cameras: [
      camera('images.cam_high', 'base_0_rgb', 'camera above', aloha),
      camera('images.cam_low', null, 'camera in front; accepted and not used', { ...aloha, required: false }),
      camera('images.cam_left_wrist', 'left_wrist_0_rgb', 'left wrist camera', { ...aloha, required: false }),
      camera('images.cam_right_wrist', 'right_wrist_0_rgb', 'right wrist camera', {
        ...aloha,
        required: false,
      }),
    ],
    state: [
      { key: 'state', size: 14, description: 'left arm (6), left gripper, right arm (6), right gripper' },
    ],
    promptKey: 'prompt',
    actionSize: 14,
    joints: [...alohaArm('left'), ...alohaArm('right')],
    jointTransform: 'aloha',
  },
} as const satisfies Record<string, Embodiment>

export type EmbodimentName = keyof typeof EMBODIMENTS

const checkSchema = compileCheck(EmbodimentSchema, 'POLICY_INVALID')

/** Reads a JSON descriptor. Throws POLICY_INVALID with the file and field. */
export function readEmbodiment(path: string): Embodiment {
  return readChecked(path, checkSchema)
}

export const stateSizeOf = (embodiment: Embodiment): number =>
  embodiment.state.reduce((sum, part) => sum + part.size, 0)

/** That the network can take what the embodiment gives. Throws POLICY_INVALID. */
export function checkEmbodiment(embodiment: Embodiment, model: ModelConfig): void {
  const { name, cameras, state, actionSize, deltaMask, joints, jointTransform } = embodiment
  const refuse = (detail: string) => new TurboPiError('POLICY_INVALID', `embodiment ${name}: ${detail}`)
  const keys = [...cameras, ...state].map(part => part.key).concat(embodiment.promptKey)
  const repeated = keys.find((key, i) => keys.indexOf(key) !== i)
  if (repeated) throw refuse(`the key ${repeated} is used twice.`)
  if (keys.some(key => key === 'options' || key.startsWith('options.')))
    throw refuse('the key "options" belongs to the request itself.')
  const slots = cameras.map(({ slot }) => slot).filter(slot => slot !== null)
  for (const slot of slots)
    if (!model.cameraSlots.includes(slot))
      throw refuse(`slot ${slot} is not one of the network's: ${model.cameraSlots.join(', ')}.`)
  if (slots.length === 0 || new Set(slots).size !== slots.length)
    throw refuse('every slot must be filled by at most one camera, and one slot at least by a camera.')
  const stateSize = stateSizeOf(embodiment)
  for (const [what, size] of [
    ['state', stateSize],
    ['action', actionSize],
  ] as const)
    if (size > model.actionDim)
      throw refuse(`a ${what} of ${size} numbers does not fit the network's ${model.actionDim}.`)
  if (deltaMask && deltaMask.length > Math.min(stateSize, actionSize))
    throw refuse(
      `deltaMask has ${deltaMask.length} entries for ${stateSize} state and ${actionSize} action numbers.`,
    )
  if (joints) checkJoints(joints, embodiment, refuse)
  if (jointTransform === 'aloha' && (stateSize !== 14 || actionSize !== 14))
    throw refuse('the joint transform aloha needs a state and an action of 14 numbers.')
}

function checkJoints(
  joints: NonNullable<Embodiment['joints']>,
  embodiment: Embodiment,
  refuse: (detail: string) => TurboPiError,
): void {
  const { actionSize, jointTransform } = embodiment
  if (joints.length !== actionSize)
    throw refuse(`joints has ${joints.length} entries for ${actionSize} action numbers.`)
  const reversed = joints.find(({ min, max }) => min !== undefined && max !== undefined && min >= max)
  if (reversed) throw refuse(`joint ${reversed.name} has min ${reversed.min} and max ${reversed.max}.`)
  const stateSize = stateSizeOf(embodiment)
  const compared = joints.findIndex(({ first }) => first !== undefined)
  if (compared >= 0 && jointTransform)
    throw refuse(
      `"first" compares action and state, whose units differ under jointTransform ${jointTransform}.`,
    )
  for (const [i, joint] of joints.entries())
    for (const field of ['first', 'moves'] as const)
      if (joint[field] !== undefined && i >= stateSize)
        throw refuse(`joint ${joint.name} has "${field}", but the state has ${stateSize} numbers.`)
}

/** The observation schema's source; a LeRobot policy also takes the forms of LeRobot's batches. */
export function observationSpec(
  embodiment: Embodiment,
  defaultPrompt: string | undefined,
  lerobotBatch = false,
): ObservationSpec {
  return {
    embodiment: embodiment.name,
    cameras: embodiment.cameras,
    state: embodiment.state,
    prompt: {
      key: embodiment.promptKey,
      required: defaultPrompt === undefined,
      ...(defaultPrompt !== undefined && { default: defaultPrompt }),
      ...(lerobotBatch && { lerobotBatch }),
    },
  }
}
