import { type TSchema, Type } from 'typebox'
import { choice } from '../contract/choice.js'
import { MARKS } from '../contract/report.js'
import { RTC_MODES, RTC_SCHEDULES } from '../contract/rtc.js'
import { inferReplySchema } from '../contract/schemas.js'
import { compressedImageSchema, rawImageSchema } from './foxglove.js'
import type { PolicyNote } from './handover.js'

/** How the messages of a channel are written. */
export interface Schema {
  name: string
  encoding: string
  data: Uint8Array
}

const base64 = (description: string) => Type.String({ contentEncoding: 'base64', description })
const floats = (what: string) => base64(`${what}: float32, little endian, row-major`)
const session = Type.String({ description: 'the robot’s name, or that of its connection' })
const seq = Type.Optional(Type.Integer({ description: 'the client’s number of the observation' }))

/** The first message of a file, by which its observations can be replayed. */
const policy = Type.Object({
  served: Type.String({ description: 'name under which it was served' }),
  policy: Type.String(),
  model: Type.Union([Type.String(), Type.Null()], {
    description: 'digest of what acts: weights, config, statistics, tokenizer and embodiment',
  }),
  runtime: Type.Unknown({ description: 'backend, device and precision' }),
  observation: Type.Unknown({ description: 'cameras, state parts and prompt, as GET /metadata tells them' }),
  shape: Type.Object({
    horizon: Type.Integer(),
    actionDim: Type.Integer({ description: 'of the network' }),
    actionSize: Type.Integer({ description: 'of the robot' }),
  }),
  joints: Type.Array(Type.String(), { description: 'names of the action’s dimensions' }),
  defaultSteps: Type.Integer(),
})

const continuation = Type.Object(
  {
    mode: choice(RTC_MODES),
    previous: floats('what was left of the chunk before, normalised, [rows, actionDim]'),
    inferenceDelay: Type.Integer(),
    executionHorizon: Type.Optional(Type.Integer()),
    schedule: Type.Optional(choice(RTC_SCHEDULES)),
    maxGuidanceWeight: Type.Optional(Type.Number()),
  },
  { description: 'real-time chunking, as the network was given it' },
)

/** An action chunk as POST /infer answers it, and what repeats it. */
const chunk = ({ shape }: PolicyNote) =>
  Type.Object({
    session,
    seq,
    ...inferReplySchema(shape).properties,
    late: Type.Boolean({ description: 'the deadline had passed' }),
    num_steps: Type.Integer({ description: 'denoise steps' }),
    place: Type.Object(
      {
        batch: Type.Integer(),
        row: Type.Integer(),
        rows: Type.Integer(),
        device: Type.Optional(Type.Integer()),
      },
      {
        description:
          'which engine call of the server, and which of its rows: the last bits depend on it; on which card',
      },
    ),
    noise: Type.Optional(floats('noise that the client gave in place of a seed')),
    continuation: Type.Optional(continuation),
    network_actions: floats(
      `what the network computed, normalised, [${shape.horizon}, ${shape.actionDim}]; actions are what was made of it and sent`,
    ),
  })

const state = ({ observation }: PolicyNote) =>
  Type.Object({
    session,
    seq,
    state: Type.Object(
      Object.fromEntries(
        observation.state.map(({ key, size, description }) => [
          key,
          Type.Array(Type.Number(), { minItems: size, maxItems: size, description }),
        ]),
      ),
    ),
    images: Type.Record(Type.String(), choice(['file', 'array']), {
      description:
        'cameras that the observation carried, and whether as picture files or as arrays of numbers',
    }),
  })

/** The channels of each robot, by the last part of their topics; cameras have `camera/KEY`. */
const ROBOT: Readonly<Record<string, (note: PolicyNote) => TSchema>> = {
  state,
  prompt: () => Type.Object({ session, prompt: Type.String() }),
  chunk,
  executed: ({ shape, joints }) =>
    Type.Object({
      session,
      seq,
      row: Type.Optional(Type.Integer({ description: 'of the chunk that answered seq' })),
      action: Type.Array(Type.Number(), {
        minItems: shape.actionSize,
        maxItems: shape.actionSize,
        description: `as the robot was commanded: ${joints.join(', ')}`,
      }),
    }),
  mark: () =>
    Type.Object({ session, kind: choice(MARKS), text: Type.Optional(Type.String()) }, { title: 'mark' }),
  error: () => Type.Object({ session, seq, code: Type.String(), detail: Type.String() }),
  skipped: () =>
    Type.Object({ session }, { description: 'a newer observation took the place of one that waited' }),
  reset: () => Type.Object({ session }, { description: 'an episode begins' }),
}

const json = (name: string, schema: TSchema): Schema => ({
  name: `turbo_pi.${name[0]!.toUpperCase()}${name.slice(1)}`,
  encoding: 'jsonschema',
  data: Buffer.from(JSON.stringify(schema)),
})

/** Every schema of a policy's files, by the channel. */
export function schemasOf(note: PolicyNote): Readonly<Record<string, Schema>> {
  return {
    policy: json('policy', policy),
    dropped: json(
      'dropped',
      Type.Object({
        records: Type.Integer({
          description:
            'observations, reports and errors that are not in this recording, since the note before',
        }),
        reason: choice(['queue', 'disk'], {
          description: 'they came faster than they could be written, or the disk took nothing',
        }),
      }),
    ),
    ...Object.fromEntries(Object.entries(ROBOT).map(([name, of]) => [name, json(name, of(note))])),
    compressed: compressedImageSchema,
    raw: rawImageSchema,
  }
}

/** Where the messages of a robot lie; of callers without a name all together. */
export const topicOf = (robot: string | undefined, channel: string) =>
  robot === undefined ? `/unnamed/${channel}` : `/robots/${robot}/${channel}`
