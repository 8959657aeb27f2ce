import type { Value } from '../../../onnx/graph.js'
import {
  attend,
  foldedNorm,
  gatedMlp,
  headsFirst,
  linear,
  outputProjection,
  paddingMask,
  queriesKeysValues,
  type RopeTables,
  residual,
  rmsNorm,
  ropeRotate,
  ropeTables,
  type Site,
} from '../blocks.js'
import { tokensPerImage } from '../config.js'
import { EMBEDDING, PREFIX } from '../tensors.js'

/**
 * Image embeddings and prompt tokens → K and V of every layer, K after RoPE (network §3.3).
 *
 * Masked cameras and prompt padding never enter (network §3.10): `source` [B, P] says for each prefix position which
 * row of [all image embeddings ‖ all token embeddings] stands there, `lengths` [B] how many positions of a row are valid.
 */
export function prefixGraph(site: Site): void {
  const { g, lower, config } = site
  const { width, depth, kvHeads, headDim } = config.prefix
  const images = g.input('image_embeddings', g.compute, ['n', tokensPerImage(config), width])
  const tokens = g.input('tokens', 'int64', ['t'])
  const source = g.input('source', 'int64', ['B', 'P'])
  const lengths = g.input('lengths', 'int64', ['B'])

  const words = g.gather(g.weight(lower.embedding(EMBEDDING, g.compute, EMBEDDING)), tokens)
  let x: Value = g.cast(g.gather(g.concat([g.reshape(images, [-1, width]), words], 0), source), 'float32')

  const positions = g.unsqueeze(g.range(g.sizeOf(source, 1)), [0])
  const rope = ropeTables(g, positions, headDim, config.ropeTheta)
  const padding = paddingMask(g, positions, lengths)
  for (let l = 0; l < depth; l++) {
    const block: { keys: Value; values: Value; x?: Value } = g.scope(`layer.${l}`, () =>
      l === depth - 1 ? keysAndValues(site, x, l, rope) : gemmaBlock(site, x, l, rope, padding),
    )
    g.output(`keys.${l}`, block.keys, ['B', kvHeads, 'P', headDim])
    g.output(`values.${l}`, block.values, ['B', kvHeads, 'P', headDim])
    if (block.x) x = block.x
  }
}

/** One layer: attention over the whole prefix, then the gated MLP. */
function gemmaBlock(site: Site, x: Value, index: number, rope: RopeTables, padding: Value) {
  const { g, config } = site
  const { width, mlpDim } = config.prefix
  const layer = `${PREFIX}.layers.${index}`
  const before = foldedNorm(`${layer}.input_layernorm.weight`)
  const after = foldedNorm(`${layer}.post_attention_layernorm.weight`)
  const { q, keys, values } = queriesKeysValues(
    site,
    rmsNorm(site, x, width),
    layer,
    config.prefix,
    rope,
    before,
  )
  const mixed = attend(g, q, [{ keys, values, mask: logits => g.add(logits, padding) }])
  const middle = residual(g, x, outputProjection(site, mixed, layer, config.prefix, before))
  const mlp = gatedMlp(site, rmsNorm(site, middle, width), layer, mlpDim, after)
  return { keys, values, x: residual(g, middle, mlp) }
}

/** The last layer: nothing but its keys and values is ever used (network §6.2). */
function keysAndValues(site: Site, x: Value, index: number, rope: RopeTables) {
  const { g, config } = site
  const { width, kvHeads, headDim } = config.prefix
  const layer = `${PREFIX}.layers.${index}`
  const packed = linear(
    site,
    rmsNorm(site, x, width),
    `${layer}.self_attn.kv`,
    [{ weight: `${layer}.self_attn.k_proj.weight` }, { weight: `${layer}.self_attn.v_proj.weight` }],
    { rmsNorm: `${layer}.input_layernorm.weight` },
  )
  const perHead = g.reshape(packed, [0, 0, 2 * kvHeads, headDim])
  const [k, v] = g.split(perHead, 2, [kvHeads, kvHeads]) as [Value, Value]
  return { keys: headsFirst(g, ropeRotate(g, k, rope, headDim)), values: headsFirst(g, v) }
}
