import { Type } from 'typebox'
import { TurboPiError } from '../errors.js'
import { type InferenceAnswer, jsonReply, msgpackReply } from './answer.js'
import { type Carried, CarriedFields } from './carried-fields.js'
import { decodeJson } from './json.js'
import { decodeMsgpack, encodeMsgpack, Float, type MsgpackValue } from './msgpack.js'
import type { Observation, ObservationSpec } from './observation.js'
import type { RequestParser } from './parse.js'
import { reportMessage } from './report.js'
import type { SamplingOptions } from './sampling.js'
import type { ActionShape, Wire } from './schemas.js'
import {
  ClearMessage,
  type ClientMessage,
  HelloMessage,
  type ObservationMessage,
  observationMessage,
  ResetMessage,
  type ServerMessage,
  TimeRequest,
} from './stream-messages.js'
import { type Check, compileCheck } from './validate.js'

/** Checks of one server's stream messages, compiled once for all connections. */
export class StreamProtocol {
  readonly #parser: RequestParser
  readonly #groups: readonly string[]
  readonly #checks: Record<Wire, Readonly<Record<ClientMessage['type'], Check>>>

  constructor(parser: RequestParser, spec: ObservationSpec, shape: ActionShape) {
    this.#parser = parser
    const paths = [...spec.cameras, ...spec.state].map(({ key }) => key.split('.'))
    this.#groups = [
      ...new Set(paths.flatMap(path => path.slice(1).map((_, i) => path.slice(0, i + 1).join('.')))),
    ]
    // Only the envelope: the observation is checked once it is complete.
    const fields = Type.Record(Type.String(), Type.Unknown())
    const check = (wire: Wire) => ({
      observation: compileCheck(observationMessage(fields, shape, wire), 'BODY_MALFORMED'),
      reset: compileCheck(ResetMessage, 'BODY_MALFORMED'),
      clear: compileCheck(ClearMessage, 'BODY_MALFORMED'),
      hello: compileCheck(HelloMessage, 'BODY_MALFORMED'),
      time: compileCheck(TimeRequest, 'BODY_MALFORMED'),
      report: compileCheck(reportMessage(shape), 'BODY_MALFORMED'),
    })
    this.#checks = { json: check('json'), msgpack: check('msgpack') }
  }

  reader(wire: Wire): StreamReader {
    return new StreamReader(wire, this.#parser, new CarriedFields(this.#groups), message =>
      this.#check(message, wire),
    )
  }

  #check(message: unknown, wire: Wire): ClientMessage {
    const type = isRecord(message) ? message['type'] : undefined
    if (typeof type !== 'string' || !Object.hasOwn(this.#checks[wire], type))
      throw new TurboPiError(
        'BODY_MALFORMED',
        `A message must be an object whose "type" is one of ${Object.keys(this.#checks[wire]).join(', ')}.`,
      )
    this.#checks[wire][type as ClientMessage['type']](message)
    return message as ClientMessage
  }
}

/** Reads the frames of one connection, and carries over the fields that an observation leaves out. */
export class StreamReader {
  #forgotten = false

  constructor(
    readonly wire: Wire,
    private readonly parser: RequestParser,
    private readonly carried: CarriedFields,
    private readonly check: (message: unknown) => ClientMessage,
  ) {}

  /** Undoes the wire; throws BODY_MALFORMED for what is not JSON or MessagePack. */
  decode(frame: Buffer): unknown {
    return this.wire === 'msgpack' ? decodeMsgpack(frame) : decodeJson(frame)
  }

  /** The number that a decoded message carries, for the answer to name whatever else is wrong with it; else null. */
  seqOf(decoded: unknown): number | null {
    const seq = isRecord(decoded) ? decoded['seq'] : undefined
    return Number.isSafeInteger(seq) && (seq as number) >= 0 ? (seq as number) : null
  }

  /** Throws BODY_MALFORMED or OPTIONS_INVALID for what is no message of a client. */
  message(decoded: unknown): ClientMessage {
    return this.check(decoded)
  }

  /** The complete observation; one that does not fit the policy leaves what is carried over as it was. */
  observation(message: ObservationMessage): {
    observation: Observation
    sampling: SamplingOptions
    carried: Carried
  } {
    const fields = this.carried.merge(this.parser.fields(message.observation))
    const observation = this.#complete(fields)
    const { sampling } = this.parser.options(message.options, this.wire)
    this.#forgotten = false
    return { observation, sampling, carried: this.carried.keep(fields) }
  }

  #complete(fields: Record<string, unknown>): Observation {
    try {
      return this.parser.observation(fields, this.wire)
    } catch (error) {
      if (!this.#forgotten || !(error instanceof TurboPiError)) throw error
      throw new TurboPiError(
        error.code,
        `${error.message}. What earlier observations carried over was let go of, for the memory was needed: send every field.`,
        { fields: error.fields },
      )
    }
  }

  /** Bytes that are held for the fields that are carried over. */
  get carriedBytes(): number {
    return this.carried.bytes
  }

  /** Lets go of what is carried over. */
  forget(): void {
    this.#forgotten = true
    this.carried.reset()
  }

  reset(): void {
    this.carried.reset()
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A message as a frame: text for JSON, binary for MessagePack. */
export function encodeMessage(message: ServerMessage, wire: Wire): string | Uint8Array {
  return wire === 'json' ? JSON.stringify(message) : encodeMsgpack(message as MsgpackValue)
}

/** What stands beside the answer in an `actions` message. */
export interface ChunkEnvelope {
  seq: number
  /** For clients that said hello. */
  generation?: number
  chunk_id: number
  obs_age_ms: number
  valid_until: number | null
  /** From the capture of the observation. */
  deadline_ms: number | undefined
}

/** An `actions` message as a frame; late, too, when the deadline has passed since the answer was ready. */
export function encodeActions(
  { seq, generation, chunk_id, obs_age_ms, valid_until, deadline_ms }: ChunkEnvelope,
  answer: InferenceAnswer,
  wire: Wire,
): string | Uint8Array {
  const head = { type: 'actions', seq, ...(generation !== undefined && { generation }), chunk_id }
  const late = answer.late || (deadline_ms !== undefined && obs_age_ms > deadline_ms)
  if (wire === 'json') return JSON.stringify({ ...head, obs_age_ms, valid_until, late, ...jsonReply(answer) })
  return encodeMsgpack({
    ...head,
    obs_age_ms: new Float(obs_age_ms),
    valid_until: valid_until === null ? null : new Float(valid_until),
    late,
    ...msgpackReply(answer),
  })
}
