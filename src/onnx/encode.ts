import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

/** Element types that the graphs use, with ONNX's TensorProto.DataType numbers. */
export const ELEMENT_TYPES = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
  /** e4m3fn: finite numbers up to 448, no infinity. */
  float8: 17,
} as const

export type ElementType = keyof typeof ELEMENT_TYPES

/** A size, or the name of one that is known only when the graph runs. */
export type Dimension = number | string

export type Attribute = { int: number } | { float: number } | { text: string } | { ints: readonly number[] }

export interface Node {
  operator: string
  /** Operator set; empty: the standard one. */
  domain: string
  name: string
  inputs: readonly string[]
  outputs: readonly string[]
  attributes: Readonly<Record<string, Attribute>>
}

export interface ValueInfo {
  name: string
  type: ElementType
  shape: readonly Dimension[]
}

/** A constant: its little-endian bytes, or where they lie in a file beside the model. */
export interface Initializer {
  name: string
  type: ElementType
  shape: readonly number[]
  data: Uint8Array | { file: string; offset: number; byteLength: number }
}

export interface Graph {
  name: string
  nodes: readonly Node[]
  initializers: readonly Initializer[]
  inputs: readonly ValueInfo[]
  outputs: readonly ValueInfo[]
}

/** ONNX Runtime's own operators, of which a graph of int8 weights uses some. */
export const CONTRIB_DOMAIN = 'com.microsoft'
const CONTRIB_OPSET = 1

/** The standard operator set that the graphs are written in, and the file format version that came with it. */
export const OPSET = 21
const IR_VERSION = 10

/** Field numbers of onnx.proto (ONNX 1.16). */
const FIELD = {
  model: { irVersion: 1, producer: 2, graph: 7, opset: 8 },
  opset: { domain: 1, version: 2 },
  graph: { node: 1, name: 2, initializer: 5, input: 11, output: 12 },
  node: { input: 1, output: 2, name: 3, operator: 4, attribute: 5, domain: 7 },
  attribute: { name: 1, float: 2, int: 3, text: 4, ints: 8, type: 20 },
  tensor: { dims: 1, dataType: 2, name: 8, rawData: 9, externalData: 13, dataLocation: 14 },
  entry: { key: 1, value: 2 },
  valueInfo: { name: 1, type: 2 },
  type: { tensor: 1 },
  tensorType: { elementType: 1, shape: 2 },
  shape: { dimension: 1 },
  dimension: { value: 1, parameter: 2 },
} as const

const ATTRIBUTE_TYPE = { float: 1, int: 2, text: 3, ints: 7 }
const EXTERNAL = 1

const text = (w: BinaryWriter, field: number, value: string) =>
  w.tag(field, WireType.LengthDelimited).string(value)
const integer = (w: BinaryWriter, field: number, value: number) => w.tag(field, WireType.Varint).int64(value)

function message(w: BinaryWriter, field: number, write: (w: BinaryWriter) => void): void {
  w.tag(field, WireType.LengthDelimited).fork()
  write(w)
  w.join()
}

function writeAttribute(w: BinaryWriter, name: string, attribute: Attribute): void {
  const f = FIELD.attribute
  text(w, f.name, name)
  if ('float' in attribute) {
    w.tag(f.float, WireType.Bit32).float(attribute.float)
    integer(w, f.type, ATTRIBUTE_TYPE.float)
  } else if ('int' in attribute) {
    integer(w, f.int, attribute.int)
    integer(w, f.type, ATTRIBUTE_TYPE.int)
  } else if ('text' in attribute) {
    text(w, f.text, attribute.text)
    integer(w, f.type, ATTRIBUTE_TYPE.text)
  } else {
    for (const value of attribute.ints) integer(w, f.ints, value)
    integer(w, f.type, ATTRIBUTE_TYPE.ints)
  }
}

function writeNode(w: BinaryWriter, node: Node): void {
  const f = FIELD.node
  for (const input of node.inputs) text(w, f.input, input)
  for (const output of node.outputs) text(w, f.output, output)
  text(w, f.name, node.name)
  text(w, f.operator, node.operator)
  if (node.domain) text(w, f.domain, node.domain)
  for (const [name, attribute] of Object.entries(node.attributes))
    message(w, f.attribute, w => writeAttribute(w, name, attribute))
}

function writeInitializer(w: BinaryWriter, { name, type, shape, data }: Initializer): void {
  const f = FIELD.tensor
  for (const size of shape) integer(w, f.dims, size)
  integer(w, f.dataType, ELEMENT_TYPES[type])
  text(w, f.name, name)
  if (data instanceof Uint8Array) {
    w.tag(f.rawData, WireType.LengthDelimited).bytes(data)
    return
  }
  const place = { location: data.file, offset: String(data.offset), length: String(data.byteLength) }
  for (const [key, value] of Object.entries(place))
    message(w, f.externalData, w => {
      text(w, FIELD.entry.key, key)
      text(w, FIELD.entry.value, value)
    })
  integer(w, f.dataLocation, EXTERNAL)
}

function writeValueInfo(w: BinaryWriter, { name, type, shape }: ValueInfo): void {
  text(w, FIELD.valueInfo.name, name)
  message(w, FIELD.valueInfo.type, w =>
    message(w, FIELD.type.tensor, w => {
      integer(w, FIELD.tensorType.elementType, ELEMENT_TYPES[type])
      message(w, FIELD.tensorType.shape, w => {
        for (const size of shape)
          message(w, FIELD.shape.dimension, w => {
            if (typeof size === 'number') integer(w, FIELD.dimension.value, size)
            else text(w, FIELD.dimension.parameter, size)
          })
      })
    }),
  )
}

function writeGraph(w: BinaryWriter, graph: Graph): void {
  const f = FIELD.graph
  for (const node of graph.nodes) message(w, f.node, w => writeNode(w, node))
  text(w, f.name, graph.name)
  for (const initializer of graph.initializers)
    message(w, f.initializer, w => writeInitializer(w, initializer))
  for (const input of graph.inputs) message(w, f.input, w => writeValueInfo(w, input))
  for (const output of graph.outputs) message(w, f.output, w => writeValueInfo(w, output))
}

/** The bytes of an ONNX ModelProto. */
export function encodeModel(graph: Graph): Uint8Array {
  const w = new BinaryWriter()
  integer(w, FIELD.model.irVersion, IR_VERSION)
  text(w, FIELD.model.producer, 'turbo-pi')
  message(w, FIELD.model.graph, w => writeGraph(w, graph))
  const sets = new Map([['', OPSET]])
  if (graph.nodes.some(node => node.domain === CONTRIB_DOMAIN)) sets.set(CONTRIB_DOMAIN, CONTRIB_OPSET)
  for (const [domain, version] of sets)
    message(w, FIELD.model.opset, w => {
      text(w, FIELD.opset.domain, domain)
      integer(w, FIELD.opset.version, version)
    })
  return w.finish()
}
