import { type Static, type TObject, type TSchema, Type } from 'typebox'
import { TurboPiError } from '../errors.js'
import { type InferenceAnswer, jsonReply, msgpackReply } from './answer.js'
import { decodeMsgpack, encodeMsgpack, Float, type MsgpackValue } from './msgpack.js'
import type { Observation, ObservationSpec } from './observation.js'
import type { RequestParser } from './parse.js'
import type { ProblemDocument } from './problem.js'
import type { SamplingOptions } from './sampling.js'
import {
  type ActionShape,
  inferReplySchema,
  observationSchema,
  optionsSchema,
  Problem,
  type Wire,
} from './schemas.js'
import { type Check, compileCheck } from './validate.js'

/** Subprotocols of `WS /stream`: one meaning, two wires. */
export const STREAM_PROTOCOLS: Readonly<Record<string, Wire>> = {
  'turbo-pi.v1+json': 'json',
  'turbo-pi.v1+msgpack': 'msgpack',
}

const closed = { additionalProperties: false } as const
const Seq = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'the client’s number of the observation; answers carry it',
})
const clock = (description: string) =>
  Type.Number({ minimum: 0, description: `${description}, in milliseconds of the client's clock` })

function observationMessage(observation: TSchema, shape: ActionShape, wire: Wire): TObject {
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

/** Starts over: fields are no longer carried over, and observations without an answer are skipped. */
export const ResetMessage = Type.Object(
  { type: Type.Literal('reset') },
  {
    ...closed,
    title: 'reset',
    description: 'No field is carried over any longer; unanswered observations are skipped.',
  },
)

/** First message of the server. */
export const ReadyMessage = Type.Object(
  {
    type: Type.Literal('ready'),
    session: Type.String({ description: 'names this connection in the server’s log' }),
    metadata: Type.Object(
      {
        policy: Type.String(),
        model: Type.String({
          description:
            'digest of the policy that acts: weights, config, statistics, tokenizer and embodiment',
        }),
        action_horizon: Type.Integer(),
        action_size: Type.Integer(),
        heartbeat_ms: Type.Integer({
          description: 'the server pings this often, and drops a connection that does not answer',
        }),
      },
      closed,
    ),
  },
  { ...closed, title: 'ready' },
)

/** An action chunk. */
export function actionsMessage(shape: ActionShape): TObject {
  return Type.Object(
    {
      type: Type.Literal('actions'),
      seq: Seq,
      chunk_id: Type.Integer({ minimum: 0, description: 'counts the chunks of this connection' }),
      obs_age_ms: Type.Number({
        description: 'from the capture of the observation (its arrival without captured_at) to this message',
      }),
      valid_until: Type.Union([Type.Number(), Type.Null()], {
        description: 'captured_at + deadline_ms, on the client’s clock; null when one of them was not given',
      }),
      late: Type.Boolean({
        description: 'the deadline had passed when the chunk was ready: not to be played as if it were fresh',
      }),
      ...inferReplySchema(shape).properties,
    },
    { ...closed, title: 'actions' },
  )
}

export const SkippedMessage = Type.Object(
  {
    type: Type.Literal('skipped'),
    seq: Seq,
    reason: Type.Union([Type.Literal('superseded'), Type.Literal('expired'), Type.Literal('reset')], {
      description:
        'a newer observation took its place, its deadline passed before the engine was free, or a reset',
    }),
  },
  { ...closed, title: 'skipped' },
)

export const ErrorMessage = Type.Object(
  {
    type: Type.Literal('error'),
    seq: Type.Union([Seq, Type.Null()], {
      description: 'the observation that failed; null when the message could not be read that far',
    }),
    error: Problem,
  },
  { ...closed, title: 'error', description: 'The connection stays usable, unless the server closes it.' },
)

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

export type SkipReason = Static<typeof SkippedMessage>['reason']

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

export type ClientMessage = ObservationMessage | Static<typeof ResetMessage>

export type ServerMessage =
  | Static<typeof ReadyMessage>
  | Static<typeof SkippedMessage>
  | { type: 'error'; seq: number | null; error: ProblemDocument }

/** What stands beside the answer in an `actions` message. */
export interface ChunkEnvelope {
  seq: number
  chunk_id: number
  obs_age_ms: number
  valid_until: number | null
}

/** Checks of one server's stream messages, compiled once for all connections. */
export class StreamProtocol {
  readonly #parser: RequestParser
  readonly #groups: readonly string[]
  readonly #observation: Record<Wire, Check>
  readonly #reset = compileCheck(ResetMessage, 'BODY_MALFORMED')

  constructor(parser: RequestParser, spec: ObservationSpec, shape: ActionShape) {
    this.#parser = parser
    const keys = spec.cameras.map(camera => camera.key).filter(key => key.includes('.'))
    this.#groups = [...new Set(keys.map(key => key.slice(0, key.indexOf('.'))))]
    // Only the envelope: the observation is checked once it is complete.
    const fields = Type.Record(Type.String(), Type.Unknown())
    const compile = (wire: Wire) => compileCheck(observationMessage(fields, shape, wire), 'BODY_MALFORMED')
    this.#observation = { json: compile('json'), msgpack: compile('msgpack') }
  }

  reader(wire: Wire): StreamReader {
    return new StreamReader(wire, this.#parser, this.#groups, message => this.#check(message, wire))
  }

  #check(message: unknown, wire: Wire): ClientMessage {
    const type = typeof message === 'object' && message !== null && 'type' in message && message.type
    if (type === 'observation') this.#observation[wire](message)
    else if (type === 'reset') this.#reset(message)
    else
      throw new TurboPiError(
        'BODY_MALFORMED',
        'A message must be an object whose "type" is "observation" or "reset".',
      )
    return message as ClientMessage
  }
}

/** Reads the frames of one connection, and carries over the fields that an observation leaves out. */
export class StreamReader {
  #carried: Record<string, unknown> = {}

  constructor(
    readonly wire: Wire,
    private readonly parser: RequestParser,
    private readonly groups: readonly string[],
    private readonly check: (message: unknown) => ClientMessage,
  ) {}

  /** Undoes the wire; throws BODY_MALFORMED for what is not JSON or MessagePack. */
  decode(frame: Buffer): unknown {
    if (this.wire === 'msgpack') return decodeMsgpack(frame)
    try {
      return JSON.parse(frame.toString())
    } catch (error) {
      throw new TurboPiError('BODY_MALFORMED', `The message is not JSON: ${(error as Error).message}.`)
    }
  }

  /** Throws BODY_MALFORMED or OPTIONS_INVALID for what is no message of a client. */
  message(decoded: unknown): ClientMessage {
    return this.check(decoded)
  }

  /** The complete observation; one that does not fit the policy leaves what is carried over as it was. */
  observation(message: ObservationMessage): { observation: Observation; sampling: SamplingOptions } {
    const fields = { ...this.#carried, ...message.observation }
    for (const group of this.groups) {
      const [before, now] = [this.#carried[group], message.observation[group]]
      if (isRecord(before) && isRecord(now)) fields[group] = { ...before, ...now }
    }
    const observation = this.parser.observation(fields, this.wire)
    const { sampling } = this.parser.options(message.options, this.wire)
    this.#carried = fields
    return { observation, sampling }
  }

  reset(): void {
    this.#carried = {}
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A message as a frame: text for JSON, binary for MessagePack. */
export function encodeMessage(message: ServerMessage, wire: Wire): string | Uint8Array {
  return wire === 'json' ? JSON.stringify(message) : encodeMsgpack(message as MsgpackValue)
}

/** An `actions` message as a frame. */
export function encodeActions(
  envelope: ChunkEnvelope,
  answer: InferenceAnswer,
  wire: Wire,
): string | Uint8Array {
  const { seq, chunk_id, obs_age_ms, valid_until } = envelope
  const { late } = answer
  if (wire === 'json') return JSON.stringify({ type: 'actions', ...envelope, late, ...jsonReply(answer) })
  return encodeMsgpack({
    type: 'actions',
    seq,
    chunk_id,
    obs_age_ms: new Float(obs_age_ms),
    valid_until: valid_until === null ? null : new Float(valid_until),
    late,
    ...msgpackReply(answer),
  })
}
