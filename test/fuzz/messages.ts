import { decodeJson } from '../../src/contract/json.js'
import {
  decodeMsgpack,
  encodeMsgpack,
  type MsgpackValue,
  NdArray,
  NumpyScalar,
} from '../../src/contract/msgpack.js'
import type { Observation } from '../../src/contract/observation.js'
import { RequestParser } from '../../src/contract/parse.js'
import { StreamProtocol } from '../../src/contract/stream.js'
import type { ObservationMessage } from '../../src/contract/stream-messages.js'
import { announcedSize } from '../../src/policy/images/header.js'
import { mutateBytes } from './mutate-bytes.js'
import { mutateTree } from './mutate-tree.js'
import type { Random } from './random.js'
import { jsonBytes, mutateJson, type Target } from './target.js'
import { tensorTargets } from './tensors.js'

const camera = (key: string, required: boolean) => ({
  ...{ key, required, slot: key, description: key },
  layout: 'hwc' as const,
})
/** An observation with every kind of field. */
export const SPEC = {
  embodiment: 'fuzz',
  cameras: [camera('observation/image', true), camera('images.front', false)],
  state: [
    { key: 'observation/state', size: 2, description: 'state' },
    { key: 'arm.gripper', size: 1, description: 'gripper' },
  ],
  prompt: { key: 'prompt', required: false },
}
const SHAPE = { horizon: 2, actionDim: 3, actionSize: 2 }
const parser = new RequestParser(SPEC, SHAPE, { maxImages: 8 })
const stream = new StreamProtocol(parser, SPEC, SHAPE)

const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)
const options = {
  num_steps: 1,
  noise: [
    [1, 2, 3],
    [4, 5, 6],
  ],
  rtc: { mode: 'guided', previous_chunk: [[1, 2]], inference_delay: 1, schedule: 'linear' },
  deadline_ms: 100,
}
const jsonObservation = {
  'observation/image': PNG.toString('base64'),
  images: { front: { data: 'AAAA', encoding: 'rgb8', width: 1, height: 1 } },
  'observation/state': [1, 2],
  'arm.gripper': 0.5,
  prompt: 'pick up the \u00e9\u4e16 block',
}
const array = (dtype: string, shape: number[], bytes: number) =>
  new NdArray(dtype, shape, new Uint8Array(bytes))
const msgpackObservation = {
  'observation/image': array('|u1', [2, 2, 3], 12),
  images: { front: new Uint8Array(PNG) },
  'observation/state': array('<f8', [2], 16),
  'arm.gripper': new NumpyScalar('<f4', 0.5),
  prompt: array('<U3', [], 12),
}
const msgpackOptions = { ...options, noise: array('<f4', [2, 3], 24) }

/** What MessagePack has and JSON has not. */
const ODD: (() => unknown)[] = [
  ...[Number.NaN, Number.POSITIVE_INFINITY, 2n ** 63n, -(2n ** 62n)].map(value => () => value),
  () => new Uint8Array(9).fill(255),
  () => array('|S9', [], 9),
  () => array('<U2', [1], 8),
  () => array('>f2', [2, 2, 3], 24),
  () => array('<f4', [0], 0),
  () => array('|b1', [2], 2),
  () => array('<f8', [1, 1, 1, 1, 1, 1, 1, 1, 1], 8),
]

function mutateMsgpack(input: Buffer, other: Buffer, random: Random): Buffer {
  if (random.chance(0.3)) return mutateBytes(input, other, random)
  try {
    return Buffer.from(encodeMsgpack(mutateTree(decodeMsgpack(input), random, ODD) as MsgpackValue))
  } catch {
    return mutateBytes(input, other, random)
  }
}

const msgpackBytes = (value: unknown) => Buffer.from(encodeMsgpack(value as MsgpackValue))
/** What is read must be what it says. */
function sound(observation: Observation): void {
  for (const state of Object.values(observation.state))
    if (!state.every(Number.isFinite)) throw new Error('a state that is not finite')
  if (observation.prompt?.isWellFormed() === false) throw new Error('a prompt that is no Unicode')
}

const envelope = (observation: unknown, seq: number) => ({
  type: 'observation',
  seq,
  observation,
  captured_at: 1,
})
const streamMessages = (observation: unknown) => [
  envelope(observation, 1),
  envelope({ prompt: 'again' }, 2),
  { type: 'reset' },
  { type: 'hello', robot: 'a', generation: 1, sent_at: 2 },
  { type: 'time', sent_at: 3 },
]

/** One reader for many messages, as a connection has it. */
function reading(wire: 'json' | 'msgpack') {
  const reader = stream.reader(wire)
  return (input: Buffer) => {
    const message = reader.message(reader.decode(input))
    if (message.type !== 'observation') return reader.reset()
    const { observation, carried } = reader.observation(message as ObservationMessage)
    sound(observation)
    if (!(reader.carriedBytes >= 0)) throw new Error('carried bytes are no number')
    if (input.length % 2) carried.proven()
    else carried.refused()
  }
}

/** Readers of what clients send. */
export const messageTargets: readonly Target[] = [
  {
    name: 'request-json',
    kind: 'message',
    seeds: () => [jsonBytes({ ...jsonObservation, options })],
    mutate: mutateJson,
    read: input => sound(parser.request(decodeJson(input), 'json').observation),
  },
  {
    name: 'request-msgpack',
    kind: 'message',
    seeds: () => [msgpackBytes({ ...msgpackObservation, options: msgpackOptions })],
    mutate: mutateMsgpack,
    read: input => sound(parser.request(decodeMsgpack(input), 'msgpack').observation),
  },
  {
    name: 'openpi',
    kind: 'message',
    seeds: () => [msgpackBytes({ ...msgpackObservation, extra: 1 })],
    mutate: mutateMsgpack,
    read: input => sound(parser.openpiObservation(decodeMsgpack(input)).observation),
  },
  {
    name: 'stream-json',
    kind: 'message',
    seeds: () => streamMessages(jsonObservation).map(jsonBytes),
    mutate: mutateJson,
    read: reading('json'),
  },
  {
    name: 'stream-msgpack',
    kind: 'message',
    seeds: () => streamMessages(msgpackObservation).map(msgpackBytes),
    mutate: mutateMsgpack,
    read: reading('msgpack'),
  },
  {
    name: 'image-header',
    kind: 'message',
    seeds: () => [
      PNG,
      Buffer.from('ffd8ffe000104a46494600010100000100010000ffc0000b080001000101011100', 'hex'),
    ],
    mutate: mutateBytes,
    read: announcedSize,
  },
  ...tensorTargets(SPEC, SHAPE, parser, sound),
]
