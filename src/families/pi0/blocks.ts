import type { Place, Products, ProductType } from '../../onnx/arithmetic.js'
import { SCALE_OF_LARGEST, SMALLEST_LARGEST } from '../../onnx/float8.js'
import type { FloatType, GraphBuilder, Value } from '../../onnx/graph.js'
import type { Lowering, Projection } from '../../onnx/lowering.js'
import { type ChannelSizes, mixedValueSizes, projectionSizes, rmsNormSizes } from '../../onnx/quantisation.js'
import type { GemmaConfig, ModelConfig } from './config.js'

/** What a block is built on: the graph, the weights that it draws from, and the network's sizes. */
export interface Site {
  g: GraphBuilder
  lower: Lowering
  config: ModelConfig
  /** How the projections inside this graph's layers are computed. */
  products: Products
}

/** Added to a logit, it makes the probability exactly zero. */
const MASKED = -1e30

export interface LinearOptions {
  /** Bias tensors in the order of the projections; their scales apply to them too. */
  biases?: readonly string[]
  /** RMSNorm weight to fold in. */
  rmsNorm?: string
  /** Float type of the product; the graph's own by default. */
  type?: FloatType
  /** Of a projection inside the layers: it is computed as `site.products` says. */
  place?: Place
  /** Sizes of the inputs' channels, after `rmsNorm`; int8 needs them. */
  channelSizes?: ChannelSizes
}

/** One matrix product for all projections of `x`, side by side, in the product's type. */
export function linear(
  site: Site,
  x: Value,
  name: string,
  projections: readonly Projection[],
  options: LinearOptions = {},
): Value {
  const { g, lower, products } = site
  const { biases, type = g.compute, place } = options
  const how = (place && products[place]) ?? 'float'
  const product = PRODUCTS[how](site, x, `${name}.weight`, projections, options)
  if (!biases) return product
  const parts = biases.map((tensor, i) => ({ tensor, scale: projections[i]!.scale ?? 1 }))
  return g.add(product, g.weight(lower.vector(`${name}.bias`, type, parts)))
}

/** In the float type of the graph, or in `type`. */
function floatProduct(
  { g, lower }: Site,
  x: Value,
  name: string,
  projections: readonly Projection[],
  { rmsNorm, type = g.compute }: LinearOptions,
): Value {
  return g.matmul(g.cast(x, type), g.weight(lower.matrix(name, type, projections, rmsNorm)))
}

/** Steps of uint8 in [0, 1] of an activation that is divided by its token's largest value, and where its zero lies. */
const ACTIVATION_STEPS = 127
const ACTIVATION_ZERO = 128

/**
 * As a float32 product, from int8 weights and activations rounded to 8 bits with one scale a token: a token's result does
 * not depend on its neighbours.
 */
function integerProduct(
  { g, lower }: Site,
  x: Value,
  name: string,
  projections: readonly Projection[],
  { rmsNorm, channelSizes }: LinearOptions,
): Value {
  if (!channelSizes) throw new TypeError(`${name}: int8 needs the sizes of its inputs`)
  const weight = lower.quantised(name, projections, { ...(rmsNorm && { rmsNorm }), channelSizes })
  const matrix = g.weight(weight.matrix)
  const scales = g.weight(weight.scales)
  const balanced = g.multiply(x, g.weight(weight.balance))
  const largest = g.maximum(g.largest(balanced), g.floats('float32', 1e-30))
  const step = g.floats('float32', 1 / ACTIVATION_STEPS)
  const zero = g.byte(ACTIVATION_ZERO)
  const rounded = g.quantise(g.divide(balanced, largest), step, zero)
  return g.multiply(g.integerMatmul(rounded, matrix, step, scales, zero), largest)
}

/**
 * From 8-bit floats, for a machine without them: what they hold is multiplied in float32. Weights have a scale an output;
 * `activations` are rounded to bfloat16 and then, with a scale a token, to 8 bits. A norm's factor is on the activations, as
 * on GPUs: folded into the weights it would be rounded with them.
 */
function float8Product(
  { g, lower }: Site,
  x: Value,
  name: string,
  projections: readonly Projection[],
  { rmsNorm }: LinearOptions,
  activations: 'fp8' | 'bfloat16',
): Value {
  const factor = rmsNorm && g.weight(lower.normFactor(rmsNorm))
  const narrow = g.cast(g.cast(factor ? g.multiply(x, factor) : x, g.compute), 'float32')
  const operand = activations === 'fp8' ? roundedTokens(g, narrow) : narrow
  return g.cast(g.matmul(operand, g.weight(lower.float8(name, projections))), g.compute)
}

/** Float32 tokens through 8-bit floats, each with its own scale (onnx/float8.ts). */
function roundedTokens(g: GraphBuilder, x: Value): Value {
  const largest = g.maximum(g.largest(x), g.floats('float32', SMALLEST_LARGEST))
  const scale = g.multiply(g.nearestPowerOfTwo(largest), g.floats('float32', SCALE_OF_LARGEST))
  return g.multiply(g.throughFloat8(g.divide(x, scale)), scale)
}

/** How the projections inside the layers are computed. */
const PRODUCTS: Readonly<Record<ProductType, typeof integerProduct>> = {
  float: floatProduct,
  int8: integerProduct,
  fp8: (...call) => float8Product(...call, 'fp8'),
  fp8Weights: (...call) => float8Product(...call, 'bfloat16'),
}

/** A projection with its bias, under the checkpoint's own name. */
export function dense(
  site: Site,
  x: Value,
  name: string,
  options: Pick<LinearOptions, 'type' | 'place' | 'channelSizes'> = {},
): Value {
  return linear(site, x, name, [{ weight: `${name}.weight` }], { biases: [`${name}.bias`], ...options })
}

/** x + y in float32: the residual stream stays wide. */
export function residual(g: GraphBuilder, x: Value, y: Value): Value {
  return g.add(x, g.cast(y, 'float32'))
}

/** x / √(mean(x²) + ε) over the last axis, in float32; the factor (1 + w) is in the weights that follow (network §3.3). */
export function rmsNorm({ g, config }: Site, x: Value, width: number): Value {
  const variance = g.add(g.meanSquare(x, width), g.floats('float32', config.rmsNormEps))
  return g.multiply(x, g.reciprocal(g.sqrt(variance)))
}

/** What a norm gives to the projections after it; nothing when it is adaptive. */
export type NormedInput = Pick<LinearOptions, 'rmsNorm' | 'channelSizes'>

/** Of an RMSNorm whose factor is in the projections after it. */
export const foldedNorm = (weight: string): NormedInput => ({
  rmsNorm: weight,
  channelSizes: rmsNormSizes(weight),
})

/** down(gelu(gate(h)) ⊙ up(h)), gate and up in one product (network §3.3). */
export function gatedMlp(site: Site, h: Value, layer: string, mlpDim: number, input: NormedInput): Value {
  const { g } = site
  const up = `${layer}.mlp.up_proj.weight`
  const projections = [{ weight: `${layer}.mlp.gate_proj.weight` }, { weight: up }]
  const packed = linear(site, h, `${layer}.mlp.gate_up`, projections, { ...input, place: 'up' })
  const [gated, raised] = g.split(packed, -1, [mlpDim, mlpDim]) as [Value, Value]
  const down = [{ weight: `${layer}.mlp.down_proj.weight` }]
  return linear(site, g.multiply(g.gelu(gated), raised), `${layer}.mlp.down`, down, {
    place: 'down',
    ...(input.channelSizes && { channelSizes: projectionSizes(up, input.channelSizes) }),
  })
}

export interface RopeTables {
  cos: Value
  sin: Value
}

/** cos and sin of position·θ^(−2i/d), [rows, positions, 1, d/2] in float32, of int64 positions [rows, positions] (network §3.4). */
export function ropeTables(g: GraphBuilder, positions: Value, headDim: number, theta: number): RopeTables {
  const frequencies = Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim))
  const angles = g.multiply(
    g.unsqueeze(g.cast(positions, 'float32'), [2, 3]),
    g.floats('float32', frequencies),
  )
  return { cos: g.cos(angles), sin: g.sin(angles) }
}

/** Rotates the halves (x₁, x₂) of each head of [rows, positions, heads, d], in float32. */
export function ropeRotate(g: GraphBuilder, x: Value, { cos, sin }: RopeTables, headDim: number): Value {
  const [x1, x2] = g.split(g.cast(x, 'float32'), -1, [headDim / 2, headDim / 2]) as [Value, Value]
  const rotated = g.concat(
    [g.subtract(g.multiply(x1, cos), g.multiply(x2, sin)), g.add(g.multiply(x2, cos), g.multiply(x1, sin))],
    -1,
  )
  return g.cast(rotated, x.type)
}

/** 0 where a position is below the row's length, else the mask: [rows, 1, 1, positions] in float32. */
export function paddingMask(g: GraphBuilder, positions: Value, lengths: Value): Value {
  const valid = g.less(positions, g.unsqueeze(lengths, [1]))
  return g.unsqueeze(g.where(valid, g.floats('float32', 0), g.floats('float32', MASKED)), [1, 2])
}

/** [rows, positions, heads, d] → [rows, heads, positions, d]. */
export const headsFirst = (g: GraphBuilder, x: Value) => g.transpose(x, [0, 2, 1, 3])

/**
 * Queries, keys and values of normalised tokens, in one product. Queries carry the scale d^−½, and the heads that share a
 * key/value head are folded into rows: [rows, kvHeads, (heads/kvHeads)·positions, d] (network §3.5).
 */
export function queriesKeysValues(
  site: Site,
  h: Value,
  layer: string,
  { heads, kvHeads, headDim }: GemmaConfig,
  rope: RopeTables,
  input: NormedInput,
): { q: Value; keys: Value; values: Value } {
  const { g, products } = site
  const { rmsNorm } = input
  const queries = [{ weight: `${layer}.self_attn.q_proj.weight`, scale: headDim ** -0.5 }]
  const cached = ['k_proj', 'v_proj'].map(part => ({ weight: `${layer}.self_attn.${part}.weight` }))
  const packed =
    products.q !== products.kv
      ? g.concat(
          [
            linear(site, h, `${layer}.self_attn.q`, queries, { ...input, place: 'q' }),
            linear(site, h, `${layer}.self_attn.kv`, cached, { ...(rmsNorm && { rmsNorm }), place: 'kv' }),
          ],
          -1,
        )
      : linear(site, h, `${layer}.self_attn.qkv`, [...queries, ...cached], { ...input, place: 'q' })
  const perHead = g.reshape(packed, [0, 0, heads + 2 * kvHeads, headDim])
  const [qk, v] = g.split(perHead, 2, [heads + kvHeads, kvHeads]) as [Value, Value]
  const [q, k] = g.split(ropeRotate(g, qk, rope, headDim), 2, [heads, kvHeads]) as [Value, Value]
  const grouped = g.transpose(g.reshape(q, [0, 0, kvHeads, heads / kvHeads, headDim]), [0, 2, 3, 1, 4])
  return {
    q: g.reshape(grouped, [0, kvHeads, -1, headDim]),
    keys: headsFirst(g, k),
    values: headsFirst(g, v),
  }
}

/** The attention's output projection, from folded queries back to [rows, positions, width]. */
export function outputProjection(
  site: Site,
  mixed: Value,
  layer: string,
  gemma: GemmaConfig,
  input: NormedInput,
): Value {
  const { g } = site
  const { heads, kvHeads, headDim } = gemma
  const grouped = g.transpose(g.reshape(mixed, [0, kvHeads, heads / kvHeads, -1, headDim]), [0, 3, 1, 2, 4])
  const values = input.channelSizes && projectionSizes(`${layer}.self_attn.v_proj.weight`, input.channelSizes)
  const name = `${layer}.self_attn.o`
  return linear(
    site,
    g.reshape(grouped, [0, 0, heads * headDim]),
    name,
    [{ weight: `${name}_proj.weight` }],
    { place: 'o', ...(values && { channelSizes: mixedValueSizes(values, heads, kvHeads) }) },
  )
}

/** Keys and values that queries attend to. `mask` works on float32 logits. */
export interface Attended {
  keys: Value
  values: Value
  mask: (logits: Value) => Value
}

/**
 * softmax(q·Kᵀ)·V over all parts together; q carries the scale d^−½ already. The logits of the parts are joined, not
 * their keys and values, which for a long prefix are far larger.
 */
export function attend(g: GraphBuilder, q: Value, parts: readonly Attended[]): Value {
  const logits = parts.map(({ keys, mask }) =>
    mask(g.cast(g.matmul(q, g.transpose(keys, [0, 1, 3, 2])), 'float32')),
  )
  if (parts.length === 1) return g.matmul(g.cast(g.softmax(logits[0]!), q.type), parts[0]!.values)
  const sizes = g.concat(
    parts.map(({ keys }) => g.sizeOf(keys, 2)),
    0,
  )
  const joint = g.cast(g.softmax(g.concat(logits, -1)), q.type)
  return g
    .splitAt(joint, -1, sizes, parts.length)
    .map((probabilities, i) => g.matmul(probabilities, parts[i]!.values))
    .reduce((sum, part) => g.add(sum, part))
}
