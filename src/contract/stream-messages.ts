import { type Static, type TObject, type TSchema, Type } from 'typebox'
import type { ObservationSpec } from './observation.js'
import type { ReportMessage } from './report.js'
import {
  type ActionShape,
  inferReplySchema,
  observationSchema,
  optionsSchema,
  Problem,
  type Wire,
} from './schemas.js'

/** Subprotocols of `WS /stream`: one meaning, two wires. */
export const STREAM_PROTOCOLS: Readonly<Record<string, Wire>> = {
  'turbo-pi.v1+json': 'json',
  'turbo-pi.v1+msgpack': 'msgpack',
}

/**
 * What a server takes and sends beyond the first messages of version 1, as `ready` lists it. `hello`: the message, its
 * `welcome`, and `generation` in every answer; `time`: its message; `heartbeat`: the server's, after a hello; `clear`: its
 * message; `report`: its message, listed by servers that record.
 */
export const STREAM_FEATURES = ['hello', 'time', 'heartbeat', 'clear', 'report'] as const

const closed = { additionalProperties: false } as const
const Seq = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'the client’s number of the observation; answers carry it',
})
const clock = (description: string) =>
  Type.Number({ minimum: 0, description: `${description}, in milliseconds of the client's clock` })
const ServerTime = Type.Number({ description: 'the server’s clock, in Unix milliseconds' })
const Generation = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'of the execution: each reset starts the next one',
})
/** Only clients that said hello are sent it. */
const AnswerGeneration = Type.Optional(Generation)

/** The envelope of an observation around the schema of its fields. */
export function observationMessage(observation: TSchema, shape: ActionShape, wire: Wire): TObject {
  const { deadline_ms: deadline, ...options } = optionsSchema(shape, wire).properties
  return Type.Object(
    {
      type: Type.Literal('observation'),
      seq: Seq,
      observation,
      captured_at: Type.Optional(clock('when the sensors were read')),
      sent_at: Type.Optional(
        clock(
          'when this message was sent; without it captured_at must be Unix time, on a clock that agrees with the server’s',
        ),
      ),
      deadline_ms: deadline!,
      options: Type.Optional(Type.Object(options, closed)),
    },
    { ...closed, title: 'observation' },
  )
}

/** The observation message as it is documented: each field of the observation may be left out. */
export function observationMessageSchema(spec: ObservationSpec, shape: ActionShape, wire: Wire): TObject {
  return observationMessage(deepPartial(observationSchema(spec, wire)), shape, wire)
}

function deepPartial(schema: TObject): TObject {
  const fields = Object.entries(schema.properties).map(([key, field]) => {
    const nested = (field as { properties?: unknown }).properties ? deepPartial(field as TObject) : field
    return [key, Type.Optional(nested)]
  })
  return Type.Object(Object.fromEntries(fields), closed)
}

/** Starts over: fields are no longer carried over, and observations without an answer are skipped. */
export const ResetMessage = Type.Object(
  { type: Type.Literal('reset') },
  {
    ...closed,
    title: 'reset',
    description:
      'Starts the next generation: no field is carried over any longer; unanswered observations are skipped.',
  },
)

/** Lets the robot of this connection go on that a guard has stopped. */
export const ClearMessage = Type.Object(
  { type: Type.Literal('clear') },
  {
    ...closed,
    title: 'clear',
    description:
      'Lets the robot that this connection has named go on, which a guard in mode hold has stopped. Somebody is to have looked at it.',
  },
)

/** What a client says of itself and asks for, once, before its first observation; the answer is `welcome`. */
export const HelloMessage = Type.Object(
  {
    type: Type.Literal('hello'),
    robot: Type.Optional(
      Type.String({
        description:
          'name of the robot: 1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit',
      }),
    ),
    expected_model: Type.Optional(
      Type.String({
        description:
          'fingerprint; the connection is refused with MODEL_MISMATCH when another model is served',
      }),
    ),
    generation: Type.Optional(Generation),
    sent_at: Type.Optional(clock('when this message was sent')),
  },
  { ...closed, title: 'hello' },
)

/** Asks for the server's time, for the four stamps of NTP. */
export const TimeRequest = Type.Object(
  { type: Type.Literal('time'), sent_at: clock('when this message was sent') },
  { ...closed, title: 'time' },
)

/** First message of the server. */
export const ReadyMessage = Type.Object(
  {
    type: Type.Literal('ready'),
    session: Type.String({ description: 'names this connection in the server’s log' }),
    metadata: Type.Object({
      policy: Type.String(),
      model: Type.String({ description: 'fingerprint of the model' }),
      action_horizon: Type.Integer(),
      action_size: Type.Integer(),
      heartbeat_ms: Type.Integer({
        description: 'the server pings this often, and drops a connection that does not answer',
      }),
    }),
    instance: Type.String({ description: 'names this run of the server' }),
    server_time: ServerTime,
    features: Type.Array(Type.String(), {
      description: `what this server takes beyond observation and reset: ${STREAM_FEATURES.join(', ')}`,
    }),
  },
  { title: 'ready' },
)

const stamps = {
  sent_at: Type.Optional(Type.Number({ description: 'as the client sent it' })),
  received_at: Type.Number({ description: 'when the client’s message came, on the server’s clock' }),
  server_time: ServerTime,
}

/** The answer to `hello`: from here on every answer carries the generation. */
export const WelcomeMessage = Type.Object(
  {
    type: Type.Literal('welcome'),
    robot: Type.Union([Type.String(), Type.Null()]),
    generation: Generation,
    ...stamps,
  },
  { title: 'welcome' },
)

export const TimeMessage = Type.Object(
  { type: Type.Literal('time'), ...stamps },
  { title: 'time', description: 'The answer to `time`.' },
)

/** Sent every `heartbeat_ms` beside the ping, for clients that cannot see pings: browsers. */
export const HeartbeatMessage = Type.Object(
  { type: Type.Literal('heartbeat'), server_time: ServerTime },
  { title: 'heartbeat' },
)

/** An action chunk. */
export function actionsMessage(shape: ActionShape) {
  return Type.Object(
    {
      type: Type.Literal('actions'),
      seq: Seq,
      generation: AnswerGeneration,
      chunk_id: Type.Integer({ minimum: 0, description: 'counts the chunks of this connection' }),
      obs_age_ms: Type.Number({
        description: 'from the capture of the observation (its arrival without captured_at) to this message',
      }),
      valid_until: Type.Union([Type.Number(), Type.Null()], {
        description:
          'captured_at + deadline_ms, on the clock of captured_at; null when one of them was not given',
      }),
      late: Type.Boolean({
        description: 'the deadline had passed when the chunk was ready: not to be played as if it were fresh',
      }),
      ...inferReplySchema(shape).properties,
    },
    { title: 'actions' },
  )
}

export const SkippedMessage = Type.Object(
  {
    type: Type.Literal('skipped'),
    seq: Seq,
    generation: AnswerGeneration,
    reason: Type.Union([Type.Literal('superseded'), Type.Literal('expired'), Type.Literal('reset')], {
      description:
        'a newer observation took its place, its deadline passed before there was an answer, or a reset',
    }),
  },
  { title: 'skipped' },
)

export const ErrorMessage = Type.Object(
  {
    type: Type.Literal('error'),
    seq: Type.Union([Seq, Type.Null()], {
      description: 'the observation that failed; null when the message names none',
    }),
    generation: AnswerGeneration,
    error: Problem,
  },
  { title: 'error', description: 'The connection stays usable, unless the server closes it.' },
)

export type SkipReason = Static<typeof SkippedMessage>['reason']
export type ActionsMessage = Static<ReturnType<typeof actionsMessage>>

/** An observation message whose envelope has been checked. */
export interface ObservationMessage {
  type: 'observation'
  seq: number
  observation: Record<string, unknown>
  captured_at?: number
  sent_at?: number
  deadline_ms?: number
  options?: Record<string, unknown>
}

export type ClientMessage =
  | ObservationMessage
  | Static<typeof ResetMessage>
  | Static<typeof ClearMessage>
  | Static<typeof HelloMessage>
  | Static<typeof TimeRequest>
  | ReportMessage

export type ServerMessage =
  | Static<typeof ReadyMessage>
  | Static<typeof WelcomeMessage>
  | Static<typeof TimeMessage>
  | Static<typeof HeartbeatMessage>
  | Static<typeof SkippedMessage>
  | Static<typeof ErrorMessage>
