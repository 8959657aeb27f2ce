import { numbersOf } from '../../contract/ndarray.js'
import { type MsgpackValue, NdArray } from '../../contract/numpy.js'
import type { ProblemDocument } from '../../contract/problem.js'
import type {
  ActionsMessage,
  ClientMessage,
  ObservationMessage,
  ServerMessage,
} from '../../contract/stream-messages.js'

/** What the client sends. */
export type Outgoing =
  | Exclude<ClientMessage, ObservationMessage>
  | (Omit<ObservationMessage, 'observation'> & { observation: Readonly<Record<string, MsgpackValue>> })

export type Problem = ProblemDocument

/** What the server sends, with actions as rows. */
export type Incoming = ServerMessage | ActionsMessage

type Fields = Readonly<Record<string, unknown>>

const KINDS: Readonly<Record<Incoming['type'], (message: Fields) => boolean>> = {
  ready: ({ session, metadata }) =>
    typeof session === 'string' && isRecord(metadata) && isCount(metadata['heartbeat_ms']),
  welcome: ({ generation, received_at, server_time }) =>
    isCount(generation) && isNumber(received_at) && isNumber(server_time),
  time: ({ sent_at, received_at, server_time }) =>
    isNumber(sent_at) && isNumber(received_at) && isNumber(server_time),
  heartbeat: () => true,
  actions: ({ seq, actions, obs_age_ms }) =>
    isCount(seq) && isNumber(obs_age_ms) && Array.isArray(actions) && actions.every(Array.isArray),
  skipped: ({ seq, reason }) => isCount(seq) && typeof reason === 'string',
  error: ({ seq, error }) =>
    (seq === null || isCount(seq)) && isRecord(error) && typeof error['code'] === 'string',
}

/**
 * A decoded frame as a message; undefined for a type that this client does not know, which a newer server may send.
 * Throws an Error for what is no message, or lacks what its type needs.
 */
export function readMessage(decoded: unknown): Incoming | undefined {
  if (!isRecord(decoded) || typeof decoded['type'] !== 'string')
    throw new Error('a message must be an object with a "type"')
  const { type, actions } = decoded
  if (!Object.hasOwn(KINDS, type as string)) return undefined
  const message = actions instanceof NdArray ? { ...decoded, actions: rowsOf(actions) } : decoded
  if (!KINDS[type as Incoming['type']](message)) throw new Error(`a message of type ${type} lacks its fields`)
  return message as unknown as Incoming
}

function rowsOf(array: NdArray): number[][] {
  const [rows = 0, width = 0] = array.shape
  const numbers = numbersOf(array)
  return Array.from({ length: rows }, (_, row) => [...numbers.subarray(row * width, (row + 1) * width)])
}

const isRecord = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
