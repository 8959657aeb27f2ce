import { toBfloat16, toFloat16 } from '../storage/dtype.js'
import {
  type Attribute,
  CONTRIB_DOMAIN,
  type Dimension,
  ELEMENT_TYPES,
  type ElementType,
  encodeModel,
  type Graph,
  type Initializer,
  type Node,
  type ValueInfo,
} from './encode.js'
import type { Weight, WeightsFile } from './weights-file.js'

/** A tensor in a graph under construction. */
export interface Value {
  readonly name: string
  readonly type: ElementType
}

export type FloatType = 'float32' | 'float16' | 'bfloat16'

/**
 * Builds one ONNX graph of standard operators. Each method adds one node and gives its output; types are followed, so
 * that mixing float types without a cast is an error here and not on the target.
 */
export class GraphBuilder {
  private readonly nodes: Node[] = []
  private readonly initializers = new Map<string, Initializer>()
  private readonly inputs: ValueInfo[] = []
  private readonly outputs: ValueInfo[] = []
  private path = ''

  /** `compute` is the float type of matrix products; the blocks widen to float32 where it matters. */
  constructor(
    readonly name: string,
    private readonly weights: WeightsFile,
    readonly compute: FloatType,
  ) {}

  /** Names the nodes that `build` adds, for profilers and error messages. */
  scope<T>(name: string, build: () => T): T {
    const outer = this.path
    this.path = `${outer}${name}/`
    try {
      return build()
    } finally {
      this.path = outer
    }
  }

  input(name: string, type: ElementType, shape: readonly Dimension[]): Value {
    this.inputs.push({ name, type, shape })
    return { name, type }
  }

  output(name: string, value: Value, shape: readonly Dimension[]): void {
    this.outputs.push({ name, type: value.type, shape })
    this.nodes.push({
      operator: 'Identity',
      domain: '',
      name: `output/${name}`,
      inputs: [value.name],
      outputs: [name],
      attributes: {},
    })
  }

  /** A trained weight, kept in the weights file. */
  weight(weight: Weight): Value {
    const place = this.weights.add(weight)
    this.initializers.set(weight.name, { ...weight, data: place })
    return { name: weight.name, type: weight.type }
  }

  integers(values: readonly number[], shape: readonly number[] = [values.length]): Value {
    return this.constant('int64', shape, new BigInt64Array(values.map(BigInt)))
  }

  /** Floats of the given type: a scalar when one number is given. */
  floats(type: FloatType, values: number | readonly number[]): Value {
    const list = typeof values === 'number' ? [values] : values
    const shape = typeof values === 'number' ? [] : [list.length]
    if (type === 'float32') return this.constant(type, shape, Float32Array.from(list))
    return this.constant(type, shape, Uint16Array.from(list, type === 'float16' ? toFloat16 : toBfloat16))
  }

  /** A uint8 scalar. */
  byte(value: number): Value {
    return this.constant('uint8', [], Uint8Array.of(value))
  }

  private constant(type: ElementType, shape: readonly number[], elements: ArrayBufferView): Value {
    const data = new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength)
    const name = `constant/${type}[${shape}]/${Buffer.from(data).toString('base64')}`
    const kept = name.length < 80 ? name : `constant/${this.initializers.size}`
    this.initializers.set(kept, { name: kept, type, shape, data })
    return { name: kept, type }
  }

  /** Adds any operator; the first output has the type of the first input unless `type` says otherwise. */
  apply(
    operator: string,
    inputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
    type: ElementType = inputs[0]!.type,
  ): Value {
    return this.applyMany(operator, inputs, attributes, [type])[0]!
  }

  applyMany(
    operator: string,
    inputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>>,
    types: readonly ElementType[],
    domain = '',
  ): Value[] {
    const name = `${this.path}${operator}_${this.nodes.length}`
    const outputs = types.map((type, i) => ({ name: types.length > 1 ? `${name}.${i}` : name, type }))
    this.nodes.push({
      operator,
      domain,
      name,
      inputs: inputs.map(input => input.name),
      outputs: outputs.map(output => output.name),
      attributes,
    })
    return outputs
  }

  private binary(operator: string, a: Value, b: Value, type: ElementType = a.type): Value {
    if (a.type !== b.type)
      throw new TypeError(`${this.path}${operator}: ${a.name} is ${a.type}, ${b.name} is ${b.type}`)
    return this.apply(operator, [a, b], {}, type)
  }

  add = (a: Value, b: Value) => this.binary('Add', a, b)
  divide = (a: Value, b: Value) => this.binary('Div', a, b)
  maximum = (a: Value, b: Value) => this.binary('Max', a, b)
  subtract = (a: Value, b: Value) => this.binary('Sub', a, b)
  multiply = (a: Value, b: Value) => this.binary('Mul', a, b)
  matmul = (a: Value, b: Value) => this.binary('MatMul', a, b)
  less = (a: Value, b: Value) => this.binary('Less', a, b, 'bool')
  equal = (a: Value, b: Value) => this.binary('Equal', a, b, 'bool')
  and = (a: Value, b: Value) => this.binary('And', a, b)

  where(condition: Value, then: Value, otherwise: Value): Value {
    return this.apply('Where', [condition, then, otherwise], {}, then.type)
  }

  cast(value: Value, to: ElementType): Value {
    if (value.type === to) return value
    return this.apply('Cast', [value], { to: { int: ELEMENT_TYPES[to] } }, to)
  }

  /** `shape` as in ONNX: 0 keeps the size at that place, one -1 takes what is left. */
  reshape(value: Value, shape: readonly number[]): Value {
    return this.apply('Reshape', [value, this.integers(shape)])
  }

  transpose(value: Value, order: readonly number[]): Value {
    return this.apply('Transpose', [value], { perm: { ints: order } })
  }

  unsqueeze(value: Value, axes: readonly number[]): Value {
    return this.apply('Unsqueeze', [value, this.integers(axes)])
  }

  /** Parts of the given sizes along an axis. */
  split(value: Value, axis: number, sizes: readonly number[]): Value[] {
    return this.splitAt(value, axis, this.integers(sizes), sizes.length)
  }

  /** As `split`, with sizes that the graph computes. */
  splitAt(value: Value, axis: number, sizes: Value, count: number): Value[] {
    const types = new Array<ElementType>(count).fill(value.type)
    return this.applyMany('Split', [value, sizes], { axis: { int: axis } }, types)
  }

  concat(values: readonly Value[], axis: number): Value {
    return this.apply('Concat', values, { axis: { int: axis } })
  }

  /** Rows of `table` along its first axis. */
  gather(table: Value, indices: Value): Value {
    return this.apply('Gather', [table, indices], { axis: { int: 0 } })
  }

  /** Size along an axis, as int64 [1]. */
  sizeOf(value: Value, axis: number): Value {
    return this.apply('Shape', [value], { start: { int: axis }, end: { int: axis + 1 } }, 'int64')
  }

  /** 0, 1, … count − 1 as int64; `count` is int64 [1]. */
  range(count: Value): Value {
    const scalar = this.apply('Squeeze', [count, this.integers([0])])
    return this.apply('Range', [this.integers([0], []), scalar, this.integers([1], [])])
  }

  /** Mean of the squares along the last axis, which is kept with size 1. */
  meanSquare(value: Value, width: number): Value {
    const sum = this.apply('ReduceSumSquare', [value, this.integers([-1])], { keepdims: { int: 1 } })
    return this.multiply(sum, this.floats(value.type as FloatType, 1 / width))
  }

  /** Largest absolute value along the last axis, which is kept with size 1. */
  largest(value: Value): Value {
    const magnitudes = this.apply('Abs', [value])
    return this.apply('ReduceMax', [magnitudes, this.integers([-1])], { keepdims: { int: 1 } })
  }

  /** Rounded to the nearest 8-bit float (e4m3, ties to even, ±448 at most) and back. */
  throughFloat8(value: Value): Value {
    const attributes = { to: { int: ELEMENT_TYPES.float8 }, saturate: { int: 1 } }
    return this.cast(this.apply('Cast', [value], attributes, 'float8'), value.type)
  }

  /** The nearest power of two of positive float32 numbers, upwards from 1.5: what subtracting leaves of 23 bits. */
  nearestPowerOfTwo(value: Value): Value {
    const raised = this.multiply(value, this.floats('float32', 2 ** 23 + 1))
    return this.subtract(raised, this.subtract(raised, value))
  }

  layerNorm(value: Value, scale: Value, bias: Value, epsilon: number): Value {
    return this.apply('LayerNormalization', [value, scale, bias], {
      axis: { int: -1 },
      epsilon: { float: epsilon },
    })
  }

  softmax = (value: Value) => this.apply('Softmax', [value], { axis: { int: -1 } })
  sqrt = (value: Value) => this.apply('Sqrt', [value])
  reciprocal = (value: Value) => this.apply('Reciprocal', [value])
  sin = (value: Value) => this.apply('Sin', [value])
  cos = (value: Value) => this.apply('Cos', [value])
  swish = (value: Value) => this.multiply(value, this.apply('Sigmoid', [value]))

  /** GELU in its tanh approximation (network §3.2). */
  gelu = (value: Value) => this.apply('Gelu', [value], { approximate: { text: 'tanh' } })

  /** x rounded to x / step + zero, in uint8. */
  quantise(x: Value, step: Value, zero: Value): Value {
    return this.apply('QuantizeLinear', [x, step, zero], {}, 'uint8')
  }

  /**
   * ONNX Runtime's own: the float32 product of uint8 `a` and int8 `b`, whose real values are step·(a − zero) and, column by
   * column, scale·b.
   */
  integerMatmul(a: Value, b: Value, step: Value, scales: Value, zero: Value): Value {
    const inputs = [a, b, step, scales, zero]
    return this.applyMany('MatMulIntegerToFloat', inputs, {}, ['float32'], CONTRIB_DOMAIN)[0]!
  }

  /** The finished graph. */
  graph(): Graph {
    const { name, nodes, inputs, outputs } = this
    return { name, nodes, inputs, outputs, initializers: [...this.initializers.values()] }
  }

  /** The bytes of the ONNX file. */
  encode(): Uint8Array {
    return encodeModel(this.graph())
  }
}
