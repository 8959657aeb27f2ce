import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { TurboPiError } from '../../errors.js'
import { shown } from '../limits.js'
import { MessageReader } from './protobuf.js'
import {
  type InputTensor,
  MODEL_VERSION,
  type OpenInferenceRequest,
  type OutputTensor,
  type ParameterValue,
} from './request.js'
import type { TensorMetadata } from './signature.js'

/** What openapi/open-inference.proto calls the service. */
export const GRPC_SERVICE = 'inference.GRPCInferenceService'

/** A model, and its version where the caller names one. */
export interface ModelName {
  readonly name: string
  readonly version: string | undefined
}

/** A request over gRPC. */
export interface GrpcRequest extends OpenInferenceRequest {
  readonly model: ModelName
}

/** In the form of InputTensor, without its data. */
interface Described {
  name: string
  datatype: string
  shape: number[]
  contents: unknown[] | undefined
}

const malformed = (detail: string) => new TurboPiError('BODY_MALFORMED', detail)

/** ModelInferRequest. Throws BODY_MALFORMED. */
export function readInferRequest(bytes: Uint8Array): GrpcRequest {
  const reader = new MessageReader(bytes)
  const parameters = new Map<string, ParameterValue>()
  const inputs: Described[] = []
  const outputs: string[] = []
  const raw: Uint8Array[] = []
  let name = ''
  let version = ''
  let id = ''
  reader.all(field => {
    if (field === 1) name = reader.string()
    else if (field === 2) version = reader.string()
    else if (field === 3) id = reader.string()
    else if (field === 4) readParameter(reader, parameters)
    else if (field === 5) inputs.push(readInput(reader))
    else if (field === 6) outputs.push(readOutput(reader))
    else if (field === 7) raw.push(reader.bytes())
    else return false
    return true
  })
  return {
    model: modelName(name, version),
    id: id || undefined,
    parameters,
    inputs: withData(inputs, raw),
    outputs,
  }
}

/** ModelReadyRequest and ModelMetadataRequest. Throws BODY_MALFORMED. */
export function readModelName(bytes: Uint8Array): ModelName {
  const reader = new MessageReader(bytes)
  let name = ''
  let version = ''
  reader.all(field => {
    if (field === 1) name = reader.string()
    else if (field === 2) version = reader.string()
    else return false
    return true
  })
  return modelName(name, version)
}

const modelName = (name: string, version: string): ModelName => ({ name, version: version || undefined })

function readInput(reader: MessageReader): Described {
  const input: Described = { name: '', datatype: '', shape: [], contents: undefined }
  const parameters = new Map<string, ParameterValue>()
  reader.message((field, type) => {
    if (field === 1) input.name = reader.string()
    else if (field === 2) input.datatype = reader.string()
    else if (field === 3) reader.numbers(type, input.shape, 'int64')
    else if (field === 4) readParameter(reader, parameters)
    else if (field === 5) readContents(reader, (input.contents ??= []))
    else return false
    return true
  })
  requireNone(parameters, `tensor ${shown(input.name)}`)
  return input
}

/** InferTensorContents, of which a tensor has one kind. */
function readContents(reader: MessageReader, into: unknown[]): void {
  const kinds = ['bool', 'int32', 'int64', 'uint32', 'uint64', 'float', 'double'] as const
  let first: number | undefined
  reader.message((field, type) => {
    const kind = kinds[field - 1]
    if (!kind && field !== 8) return false
    first ??= field
    if (field !== first) throw malformed('The contents of a tensor are of one kind; these are of two.')
    if (kind) reader.numbers(type, into, kind)
    else into.push(reader.bytes())
    return true
  })
}

function readOutput(reader: MessageReader): string {
  const parameters = new Map<string, ParameterValue>()
  let name = ''
  reader.message(field => {
    if (field === 1) name = reader.string()
    else if (field === 2) readParameter(reader, parameters)
    else return false
    return true
  })
  requireNone(parameters, `output ${shown(name)}`)
  return name
}

/** An entry of map<string, InferParameter>. */
function readParameter(reader: MessageReader, into: Map<string, ParameterValue>): void {
  let name = ''
  let value: ParameterValue = false
  reader.message(field => {
    if (field === 1) name = reader.string()
    else if (field === 2)
      reader.message(choice => {
        if (choice === 1) value = reader.bool()
        else if (choice === 2) value = reader.int64()
        else if (choice === 3) value = reader.string()
        else if (choice === 4) value = reader.double()
        else if (choice === 5) value = reader.uint64()
        else return false
        return true
      })
    else return false
    return true
  })
  into.set(name, value)
}

function requireNone(parameters: ReadonlyMap<string, unknown>, what: string): void {
  for (const name of parameters.keys())
    throw malformed(`The ${what} has the parameter ${shown(name)}; over gRPC it takes none.`)
}

function withData(inputs: readonly Described[], raw: readonly Uint8Array[]): InputTensor[] {
  if (raw.length > 0 && raw.length !== inputs.length)
    throw malformed(
      `raw_input_contents has ${raw.length} parts for ${inputs.length} inputs; give one for each.`,
    )
  return inputs.map(({ contents, ...tensor }, i) => {
    const data = raw[i] ?? contents
    if (data === undefined || (raw[i] && contents))
      throw malformed(`The tensor ${shown(tensor.name)} must have either contents or raw_input_contents.`)
    return { ...tensor, data }
  })
}

const text = (writer: BinaryWriter, field: number, value: string) =>
  writer.tag(field, WireType.LengthDelimited).string(value)

/** ServerLiveResponse, ServerReadyResponse and ModelReadyResponse alike. */
export const writeFlag = (flag: boolean): Uint8Array =>
  new BinaryWriter().tag(1, WireType.Varint).bool(flag).finish()

/** ServerMetadataResponse. */
export function writeServerMetadata(metadata: {
  name: string
  version: string
  extensions: readonly string[]
}): Uint8Array {
  const writer = new BinaryWriter()
  text(writer, 1, metadata.name)
  text(writer, 2, metadata.version)
  for (const extension of metadata.extensions) text(writer, 3, extension)
  return writer.finish()
}

/** ModelMetadataResponse. */
export function writeModelMetadata(metadata: {
  name: string
  versions: readonly string[]
  platform: string
  inputs: readonly TensorMetadata[]
  outputs: readonly TensorMetadata[]
}): Uint8Array {
  const writer = new BinaryWriter()
  text(writer, 1, metadata.name)
  for (const version of metadata.versions) text(writer, 2, version)
  text(writer, 3, metadata.platform)
  for (const [field, tensors] of [
    [4, metadata.inputs],
    [5, metadata.outputs],
  ] as const)
    for (const tensor of tensors) writeTensor(writer, field, tensor)
  return writer.finish()
}

/** ModelInferResponse, with the tensors' bytes as raw_output_contents. */
export function writeInferReply(
  model: string,
  id: string | undefined,
  outputs: readonly OutputTensor[],
): Uint8Array {
  const writer = new BinaryWriter()
  text(writer, 1, model)
  text(writer, 2, MODEL_VERSION)
  if (id !== undefined) text(writer, 3, id)
  for (const output of outputs) writeTensor(writer, 5, output)
  for (const { bytes } of outputs) writer.tag(6, WireType.LengthDelimited).bytes(bytes)
  return writer.finish()
}

/** Name, datatype and shape of a tensor. */
function writeTensor(
  writer: BinaryWriter,
  field: number,
  { name, datatype, shape }: { name: string; datatype: string; shape: readonly number[] },
): void {
  writer.tag(field, WireType.LengthDelimited).fork()
  text(writer, 1, name)
  text(writer, 2, datatype)
  writer.tag(3, WireType.LengthDelimited).fork()
  for (const side of shape) writer.int64(side)
  writer.join()
  writer.join()
}
