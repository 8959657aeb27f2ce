import type { Dimension, ElementType } from './encode.js'
import { type FloatType, GraphBuilder, type Value } from './graph.js'
import type { Weight } from './weights-file.js'

const isNarrow = (type: ElementType) => type === 'float16' || type === 'bfloat16'

/** Operators that move values and compute none, and the rounding itself. */
const EXACT = new Set([
  'Cast',
  'Concat',
  'Gather',
  'Identity',
  'Reshape',
  'Split',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
  'Where',
])

/**
 * Builds the same graph for a machine without 16-bit arithmetic: a 16-bit value is a float32 one that has been rounded to
 * 16 bits. Every operator computes in float32, as GPUs accumulate, and rounds its result; inputs and outputs of the graph
 * are float32. It is for verification: it gives the numbers of the 16-bit graph, slowly.
 */
export class RoundingGraphBuilder extends GraphBuilder {
  override input(name: string, type: ElementType, shape: readonly Dimension[]): Value {
    super.input(name, isNarrow(type) ? 'float32' : type, shape)
    return { name, type }
  }

  override output(name: string, value: Value, shape: readonly Dimension[]): void {
    super.output(name, isNarrow(value.type) ? { name: value.name, type: 'float32' } : value, shape)
  }

  override weight(weight: Weight): Value {
    const kept = super.weight(weight)
    return isNarrow(kept.type) ? this.widened(kept) : kept
  }

  override floats(type: FloatType, values: number | readonly number[]): Value {
    const kept = super.floats(type, values)
    return isNarrow(type) ? this.widened(kept) : kept
  }

  override applyMany(...call: Parameters<GraphBuilder['applyMany']>): Value[] {
    const outputs = super.applyMany(...call)
    return EXACT.has(call[0]) ? outputs : outputs.map(output => this.rounded(output))
  }

  override cast(value: Value, to: ElementType): Value {
    if (isNarrow(to)) return value.type === to ? value : this.rounded({ name: value.name, type: to })
    return isNarrow(value.type)
      ? super.cast({ name: value.name, type: 'float32' }, to)
      : super.cast(value, to)
  }

  /** Of a value that is still float32: through its 16-bit type and back. */
  private rounded(value: Value): Value {
    if (!isNarrow(value.type)) return value
    return this.widened(super.cast({ name: value.name, type: 'float32' }, value.type))
  }

  private widened(value: Value): Value {
    return { name: super.cast(value, 'float32').name, type: value.type }
  }
}
