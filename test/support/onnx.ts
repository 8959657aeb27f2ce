import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'

/** An ONNX file as its bytes say, read with nothing of ours. Field numbers are those of onnx.proto. */
export interface OnnxFile {
  opsets: { domain: string; version: number }[]
  nodes: { name: string; operator: string; domain: string; inputs: string[] }[]
  inputs: OnnxValue[]
  outputs: OnnxValue[]
  initializers: OnnxInitializer[]
}

export interface OnnxValue {
  name: string
  elementType: number
}

export interface OnnxInitializer {
  name: string
  elementType: number
  shape: number[]
  /** location, offset and length, of tensors that lie in another file. */
  external: Record<string, string>
}

type Visit = Record<number, (reader: BinaryReader) => void>

/** Reads the fields that are asked for and skips the others. */
function read(bytes: Uint8Array, visit: Visit): void {
  const reader = new BinaryReader(bytes)
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag()
    const take = visit[field]
    if (take) take(reader)
    else reader.skip(type)
  }
}

const integer = (reader: BinaryReader) => Number(reader.int64())

export function decodeOnnx(bytes: Uint8Array): OnnxFile {
  const file: OnnxFile = { opsets: [], nodes: [], inputs: [], outputs: [], initializers: [] }
  read(bytes, {
    7: model =>
      read(model.bytes(), {
        1: graph => file.nodes.push(node(graph.bytes())),
        5: graph => file.initializers.push(initializer(graph.bytes())),
        11: graph => file.inputs.push(value(graph.bytes())),
        12: graph => file.outputs.push(value(graph.bytes())),
      }),
    8: model => {
      const opset = { domain: '', version: 0 }
      read(model.bytes(), {
        1: r => (opset.domain = r.string()),
        2: r => (opset.version = integer(r)),
      })
      file.opsets.push(opset)
    },
  })
  return file
}

function node(bytes: Uint8Array): OnnxFile['nodes'][number] {
  const result = { name: '', operator: '', domain: '', inputs: [] as string[] }
  read(bytes, {
    1: r => result.inputs.push(r.string()),
    3: r => (result.name = r.string()),
    4: r => (result.operator = r.string()),
    7: r => (result.domain = r.string()),
  })
  return result
}

function value(bytes: Uint8Array): OnnxValue {
  const result = { name: '', elementType: 0 }
  read(bytes, {
    1: r => (result.name = r.string()),
    2: type =>
      read(type.bytes(), {
        1: tensor => read(tensor.bytes(), { 1: r => (result.elementType = integer(r)) }),
      }),
  })
  return result
}

function initializer(bytes: Uint8Array): OnnxInitializer {
  const result: OnnxInitializer = { name: '', elementType: 0, shape: [], external: {} }
  const reader = new BinaryReader(bytes)
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag()
    if (field === 1 && type === WireType.Varint) result.shape.push(integer(reader))
    else if (field === 2) result.elementType = integer(reader)
    else if (field === 8) result.name = reader.string()
    else if (field === 13) entry(reader.bytes(), result.external)
    else reader.skip(type)
  }
  return result
}

function entry(bytes: Uint8Array, into: Record<string, string>): void {
  let key = ''
  read(bytes, {
    1: r => (key = r.string()),
    2: r => (into[key] = r.string()),
  })
}
