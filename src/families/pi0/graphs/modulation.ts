import type { Value } from '../../../onnx/graph.js'
import { dense, linear, type Site } from '../blocks.js'
import type { ModelConfig } from '../config.js'
import { EXPERT } from '../tensors.js'
import { variantOf } from '../variant.js'

/** The adaptive norms of the expert in the order of use: two a layer and the final one. */
export function adaptiveNorms({ expert }: ModelConfig): string[] {
  const layers = Array.from({ length: expert.depth }, (_, l) =>
    ['input_layernorm', 'post_attention_layernorm'].map(norm => `${EXPERT}.layers.${l}.${norm}`),
  )
  return [...layers.flat(), `${EXPERT}.norm`]
}

/** Numbers of one denoise step's modulation. */
export function modulationSize(config: ModelConfig): number {
  return variantOf(config).adaptiveNorms
    ? 3 * config.expert.width * adaptiveNorms(config).length
    : config.expert.width
}

/**
 * Time embeddings [N, width] → what the denoise graph takes of the time, [N, modulation size], all in float32. It
 * depends on the number of steps alone, so it is computed once for each (network §6.1).
 *
 * pi05: per norm (1 + scale), shift and gate, from swish(W₂·swish(W₁·e + b₁) + b₂). pi0: the time's part of
 * action_time_mlp_in, with its bias (network §3.6).
 */
export function modulationGraph(site: Site): void {
  const { g, config } = site
  const { width } = config.expert
  const embedding = g.input('time_embedding', 'float32', ['N', width])
  const modulation = variantOf(config).adaptiveNorms
    ? adaptive(site, embedding)
    : concatenated(site, embedding)
  g.output('modulation', modulation, ['N', modulationSize(config)])
}

function adaptive(site: Site, embedding: Value): Value {
  const { g, lower, config } = site
  const { width } = config.expert
  const norms = adaptiveNorms(config)
  const hidden = g.swish(dense(site, embedding, 'time_mlp_in', { type: 'float32' }))
  const condition = g.swish(dense(site, hidden, 'time_mlp_out', { type: 'float32' }))
  const projections = norms.map(norm => ({ weight: `${norm}.dense.weight` }))
  const product = linear(site, condition, 'modulation', projections, { type: 'float32' })
  const bias = lower.computed('modulation.bias', 'float32', [modulationSize(config)], read => {
    const all = new Float32Array(modulationSize(config))
    for (const [n, norm] of norms.entries())
      all.set(
        read(`${norm}.dense.bias`).map((b, i) => (i < width ? b + 1 : b)),
        n * 3 * width,
      )
    return all
  })
  return g.add(product, g.weight(bias))
}

function concatenated(site: Site, embedding: Value): Value {
  const { width } = site.config.expert
  const timePart = { weight: 'action_time_mlp_in.weight', inputs: [width, 2 * width] } as const
  return linear(site, embedding, 'modulation', [timePart], {
    biases: ['action_time_mlp_in.bias'],
    type: 'float32',
  })
}
