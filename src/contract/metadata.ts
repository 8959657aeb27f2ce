import { Type } from 'typebox'
import { choice } from './choice.js'

const Camera = Type.Object(
  {
    key: Type.String({ description: 'where it stands in the observation' }),
    required: Type.Boolean(),
    slot: Type.Union([Type.String(), Type.Null()], {
      description: 'that it fills, for example base_0_rgb; null when it is accepted and ignored',
    }),
    layout: choice(['hwc', 'chw'], { description: 'of raw arrays when their shape does not tell' }),
    description: Type.String(),
  },
  { title: 'Camera' },
)

const StatePart = Type.Object(
  {
    key: Type.String({ description: 'where it stands in the observation' }),
    size: Type.Integer({ description: 'numbers' }),
    description: Type.String(),
  },
  { title: 'StatePart' },
)

const Prompt = Type.Object(
  {
    key: Type.String({ description: 'where it stands in the observation' }),
    required: Type.Boolean(),
    default: Type.Optional(Type.String({ description: 'taken where an observation has none' })),
    lerobotBatch: Type.Optional(
      Type.Boolean({
        description: 'as in LeRobot’s batches, `prompt` means the same, and so does a list of one string',
      }),
    ),
  },
  { title: 'Prompt' },
)

const ObservationSpec = Type.Object(
  {
    embodiment: Type.String({ description: 'for example libero' }),
    cameras: Type.Array(Camera),
    state: Type.Array(StatePart),
    prompt: Prompt,
  },
  { title: 'ObservationSpec', description: 'what the policy takes' },
)

const ActionShape = Type.Object(
  {
    horizon: Type.Integer({ description: 'rows of a chunk' }),
    actionDim: Type.Integer({ description: 'numbers of a row inside the network' }),
    actionSize: Type.Integer({ description: 'numbers of a row for the robot' }),
  },
  { title: 'ActionShape' },
)

const Runtime = Type.Object(
  {
    backend: Type.String({ description: 'cpu, cuda or tensorrt' }),
    device: Type.String({ description: 'name of the processor' }),
    cards: Type.Optional(
      Type.Array(Type.Integer(), {
        description: 'GPUs that compute, as CUDA counts them in the server’s process',
      }),
    ),
    memory: Type.Optional(
      Type.Object(
        {
          weights: Type.Integer({ description: 'with what is made of them' }),
          slots: Type.Integer({ description: 'keys and values of prefixes that are held' }),
          inputs: Type.Integer(),
          workspaces: Type.Integer(),
        },
        { title: 'CardMemory', description: 'bytes that it takes on each card, by what for' },
      ),
    ),
    precision: Type.String({ description: 'of the weights, for example fp32' }),
    maxBatch: Type.Integer({ description: 'observations that are computed together at most' }),
    lanes: Type.Integer({ description: '2 when prefix and denoising of different observations overlap' }),
    weights: Type.String({ description: 'digest of the checkpoint’s bytes' }),
    chosen: Type.Optional(Type.String({ description: 'why this backend, where the server chose it itself' })),
  },
  { title: 'Runtime' },
)

/** Answer of GET /metadata. */
export const MetadataSchema = Type.Object(
  {
    policy: Type.String({ description: 'its name' }),
    observation: ObservationSpec,
    shape: ActionShape,
    defaultSteps: Type.Integer({ description: 'denoise steps where a request names none' }),
    joints: Type.Array(Type.String(), {
      description: 'names of the action’s dimensions, with units where the embodiment has them',
    }),
    stateNames: Type.Array(Type.String(), {
      description: 'names of the state’s numbers, one part after the other, with units likewise',
    }),
    trainedDelay: Type.Integer({
      description:
        'rows that real-time chunking in mode trained may be given; 0: the checkpoint was not trained for it',
    }),
    model: Type.Union([Type.String(), Type.Null()], {
      description: 'digest of the policy that acts; null while the engine is loading',
    }),
    runtime: Type.Union([Runtime, Type.Null()], { description: 'null while the engine is loading' }),
    openpi: Type.Object(
      {},
      { additionalProperties: true, description: 'the first frame of openpi’s protocol' },
    ),
    observation_schema: Type.Object(
      {},
      { additionalProperties: true, description: 'JSON schema of the body of POST /infer' },
    ),
  },
  { title: 'Metadata' },
)
