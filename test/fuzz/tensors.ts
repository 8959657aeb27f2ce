import type { Observation, ObservationSpec } from '../../src/contract/observation.js'
import { readInferRequest } from '../../src/contract/open-inference/grpc.js'
import { observationsOf } from '../../src/contract/open-inference/observations.js'
import { requireOutputs } from '../../src/contract/open-inference/outputs.js'
import type { OpenInferenceRequest } from '../../src/contract/open-inference/request.js'
import { readRestRequest } from '../../src/contract/open-inference/rest.js'
import { signatureOf } from '../../src/contract/open-inference/signature.js'
import type { RequestParser } from '../../src/contract/parse.js'
import type { ActionShape } from '../../src/contract/wire.js'
import { binaryBody, elements, framedMessage } from '../support/open-inference.js'
import { mutateBytes } from './mutate-bytes.js'
import type { Random } from './random.js'
import { jsonBytes, mutateJson, type Target } from './target.js'

const doubles = (...numbers: number[]) => new Uint8Array(Float64Array.from(numbers).buffer)

/** Two observations of the fuzzers' policy. */
const tensors = [
  { name: 'observation/image', datatype: 'UINT8', shape: [2, 2, 2, 3], bytes: new Uint8Array(24) },
  { name: 'images.front', datatype: 'BYTES', shape: [2, 1], bytes: elements('one', 'another') },
  { name: 'observation/state', datatype: 'FP64', shape: [2, 2], bytes: doubles(1, 2, 3, 4) },
  { name: 'arm.gripper', datatype: 'FP64', shape: [2], bytes: doubles(0.5, 1) },
  { name: 'prompt', datatype: 'BYTES', shape: [2], bytes: elements('pick up', 'the \u00e9\u4e16 block') },
]
const rest = { id: 'a', parameters: { seed: 1, timeout: 1000 }, outputs: [{ name: 'actions' }] }
const json = {
  ...rest,
  inputs: [
    { name: 'observation/image', datatype: 'UINT8', shape: [1, 2, 2, 3], data: new Array(12).fill(7) },
    { name: 'images.front', datatype: 'BYTES', shape: [1], data: ['AAAA'] },
    { name: 'observation/state', datatype: 'FP32', shape: [1, 2], data: [[1, 2]] },
    { name: 'arm.gripper', datatype: 'INT8', shape: [1, 1], data: [0] },
    { name: 'prompt', datatype: 'BYTES', shape: [1], data: ['pick up'] },
  ],
}

/** The length of the JSON, in four bytes, before the body that it belongs to. */
const withLength = (length: number, body: Buffer) => {
  const head = Buffer.alloc(4)
  head.writeUInt32LE(length)
  return Buffer.concat([head, body])
}

/** Changes the JSON and counts it again, or any bytes. */
function mutateBinary(input: Buffer, other: Buffer, random: Random): Buffer {
  const length = input.length < 4 ? 0 : input.readUInt32LE()
  if (length > input.length - 4 || random.chance(0.3)) return mutateBytes(input, other, random)
  const changed = mutateJson(input.subarray(4, 4 + length), other.subarray(4), random)
  return withLength(changed.length, Buffer.concat([changed, input.subarray(4 + length)]))
}

/** Readers of the Open Inference Protocol's messages; `sound` looks at the observations that they become. */
export function tensorTargets(
  spec: ObservationSpec,
  shape: ActionShape,
  parser: RequestParser,
  sound: (observation: Observation) => void,
): Target[] {
  const names = signatureOf(spec, shape).inputs.map(({ name }) => name)
  const read = (request: OpenInferenceRequest) => {
    requireOutputs(request.outputs)
    for (const body of observationsOf(request, names)) sound(parser.request(body, 'msgpack').observation)
  }
  return [
    {
      name: 'tensors-json',
      kind: 'message',
      seeds: () => [jsonBytes(json)],
      mutate: mutateJson,
      read: input => read(readRestRequest(input, undefined)),
    },
    {
      name: 'tensors-binary',
      kind: 'message',
      seeds: () => {
        const { body, headers } = binaryBody(tensors, rest)
        return [withLength(Number(headers['inference-header-content-length']), body)]
      },
      mutate: mutateBinary,
      read: input => {
        const length = input.length < 4 ? '' : String(input.readUInt32LE())
        read(readRestRequest(input.subarray(4), length))
      },
    },
    {
      name: 'tensors-grpc',
      kind: 'message',
      seeds: () => [framedMessage(tensors).subarray(5)],
      mutate: mutateBytes,
      read: input => read(readInferRequest(input)),
    },
  ]
}
