import { type TObject, type TSchema, Type } from 'typebox'
import { GuardSchema } from './guard.js'
import { BYTES, NdArraySchema } from './ndarray-schema.js'
import type { CameraSpec, ObservationSpec, StateSpec } from './observation.js'
import { RtcReportSchema } from './rtc.js'
import { samplingSchema } from './sampling.js'
import { milliseconds, ServerTiming } from './server-timing.js'
import type { ActionShape, Wire } from './wire.js'

export type { ActionShape, Wire } from './wire.js'

const closed = { additionalProperties: false } as const

export const MAX_PROMPT_LENGTH = 4096

const JSON_IMAGE_FORMS =
  'a base64 JPEG, PNG or WebP file, a data: URL, or {"data", "encoding": "rgb8", "width", "height"} with raw pixels'
export const MSGPACK_IMAGE_FORMS =
  'an array [height, width, 3] or [3, height, width] of uint8 or floats in 0…1, or the bytes of an image file'

const JsonImage = Type.Union(
  [
    Type.String({ description: 'base64 of a JPEG, PNG or WebP file, or a data: URL of one' }),
    Type.Object(
      {
        data: Type.String({ description: 'base64 of width × height × 3 bytes, row-major RGB' }),
        encoding: Type.Literal('rgb8'),
        width: Type.Integer({ minimum: 1, maximum: 65535 }),
        height: Type.Integer({ minimum: 1, maximum: 65535 }),
      },
      { ...closed, title: 'RawImage' },
    ),
  ],
  { title: 'Image' },
)

const MsgpackImage = Type.Union(
  [
    NdArraySchema,
    Type.Unsafe<Uint8Array>({ contentMediaType: BYTES, description: 'bytes of a JPEG, PNG or WebP file' }),
  ],
  { title: 'MsgpackImage' },
)

function imageSchema(camera: CameraSpec, wire: Wire): TSchema {
  const [schema, forms] =
    wire === 'json' ? [JsonImage, JSON_IMAGE_FORMS] : [MsgpackImage, MSGPACK_IMAGE_FORMS]
  return { ...schema, description: `${camera.description}: ${forms}` } as TSchema
}

function stateSchema(part: StateSpec, wire: Wire): TSchema {
  const description = `${part.description}: ${part.size} number${part.size === 1 ? '' : 's'}`
  const accepted: TSchema[] = [Type.Array(Type.Number(), { minItems: part.size, maxItems: part.size })]
  if (part.size === 1) accepted.push(Type.Number())
  if (wire === 'msgpack') accepted.push(NdArraySchema)
  return accepted.length === 1 ? { ...accepted[0]!, description } : Type.Union(accepted, { description })
}

function promptSchema(spec: ObservationSpec, wire: Wire): TSchema {
  const description = 'what the robot is to do, in words; may be empty'
  const text = Type.String({ maxLength: MAX_PROMPT_LENGTH, description })
  if (wire === 'json') return text
  const bytes = Type.Unsafe<Uint8Array>({ contentMediaType: BYTES, description: 'UTF-8 bytes' })
  return Type.Union([text, NdArraySchema, bytes], {
    description: `${description}: a string, a NumPy string of shape [] or UTF-8 bytes (${spec.embodiment})`,
  })
}

/** Puts `images.cam_high` at properties.images.properties.cam_high, and `observation/image` at the top. */
function nest(fields: [key: string, required: boolean, schema: TSchema][]): TObject {
  const flat: Record<string, TSchema> = {}
  const groups = new Map<string, [string, boolean, TSchema][]>()
  for (const [key, required, schema] of fields) {
    const dot = key.indexOf('.')
    if (dot < 0) flat[key] = required ? schema : Type.Optional(schema)
    else {
      const group = key.slice(0, dot)
      groups.set(group, [...(groups.get(group) ?? []), [key.slice(dot + 1), required, schema]])
    }
  }
  for (const [group, members] of groups) {
    const schema = nest(members)
    flat[group] = members.some(([, required]) => required) ? schema : Type.Optional(schema)
  }
  return Type.Object(flat, closed)
}

/** Options of one inference. */
export function optionsSchema(shape: ActionShape, wire: Wire): TObject {
  return Type.Object(
    {
      ...samplingSchema(shape, wire),
      deadline_ms: Type.Optional(
        Type.Number({
          exclusiveMinimum: 0,
          maximum: 600_000,
          description: 'after which an answer is of no use',
        }),
      ),
    },
    { ...closed, title: wire === 'json' ? 'InferenceOptions' : 'MsgpackInferenceOptions' },
  )
}

/** The observation alone: cameras, state parts and prompt, as this policy's embodiment declares them. */
export function observationSchema(spec: ObservationSpec, wire: Wire): TObject {
  return nest(observationFields(spec, wire))
}

/** Body of POST /infer: the observation and, beside it, `options`. */
export function inferRequestSchema(spec: ObservationSpec, model: ActionShape, wire: Wire): TObject {
  const options = Type.Optional(optionsSchema(model, wire))
  const schema = nest([...observationFields(spec, wire), ['options', false, options]])
  return Type.Object(schema.properties, {
    ...closed,
    title: wire === 'json' ? 'Observation' : 'MsgpackObservation',
    description: `what a robot of the embodiment ${spec.embodiment} sees, and options beside it`,
  })
}

function observationFields(spec: ObservationSpec, wire: Wire): [string, boolean, TSchema][] {
  return [
    ...spec.cameras.map(c => [c.key, c.required, imageSchema(c, wire)] as [string, boolean, TSchema]),
    ...spec.state.map(s => [s.key, true, stateSchema(s, wire)] as [string, boolean, TSchema]),
    [spec.prompt.key, spec.prompt.required, promptSchema(spec, wire)],
  ]
}

/** Answer of POST /infer. */
export function inferReplySchema(shape: ActionShape) {
  return Type.Object(
    {
      actions: Type.Array(Type.Array(Type.Number()), {
        description: `action chunk [${shape.horizon}, ${shape.actionSize}] in the robot's action space`,
      }),
      seed: Type.Union([Type.Integer({ minimum: 0, maximum: 0xffffffff }), Type.Null()], {
        description: 'that repeats this answer bit for bit; null when noise was given',
      }),
      coalesced: Type.Boolean({
        description: 'true when an identical observation in flight shared its inference',
      }),
      truncated: Type.Boolean({
        description: 'true when the prompt was longer than the policy takes and lost its tail',
      }),
      guard: GuardSchema,
      rtc: Type.Optional(RtcReportSchema),
      policy_timing: Type.Object(
        { infer_ms: milliseconds('of vision, prefix and denoising') },
        { title: 'PolicyTiming' },
      ),
      server_timing: ServerTiming,
      model: Type.String({
        description: 'digest of the policy that acts: weights, config, statistics, tokenizer and embodiment',
      }),
    },
    { title: 'ActionChunk' },
  )
}

/** RFC 9457 problem document. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'urn:turbo-pi:error:CODE' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'stable; see docs/reference/errors.md' }),
    detail: Type.String(),
    errors: Type.Array(
      Type.Object(
        { pointer: Type.String({ description: 'RFC 6901 JSON pointer' }), detail: Type.String() },
        { title: 'FieldError' },
      ),
    ),
  },
  { title: 'Problem' },
)
