import type { Value } from '../../../onnx/graph.js'
import {
  type Attended,
  attend,
  dense,
  gatedMlp,
  linear,
  type NormedInput,
  outputProjection,
  paddingMask,
  queriesKeysValues,
  type RopeTables,
  residual,
  rmsNorm,
  ropeTables,
  type Site,
} from '../blocks.js'
import { FACTORS } from '../rtc/step-updates.js'
import { EXPERT } from '../tensors.js'
import { variantOf } from '../variant.js'
import { adaptiveNorms, modulationSize } from './modulation.js'

/** How a sub-layer is normalised and gated, and what the projections see of it. */
interface Norm {
  apply: (x: Value) => Value
  gate: (y: Value) => Value
  input: NormedInput
}

/**
 * One denoise step: x → velocity, and the next x as the sum of x, velocity and target, each times its factor of the row
 * (network §3.6, §3.7; `stepUpdates` makes the factors). A row that stays where it is, with factors 1, 0, 0, is given:
 * its time is 0, for checkpoints that were trained so.
 */
export function denoiseGraph(site: Site): void {
  const { g, config } = site
  const { depth, kvHeads, headDim } = config.expert
  const chunk = ['B', 'H', config.actionDim]
  const x = g.input('x', 'float32', chunk)
  const modulation = g.input('modulation', 'float32', [modulationSize(config)])
  const update = g.input('update', 'float32', ['B', 'H', FACTORS])
  const target = g.input('target', 'float32', chunk)
  const prefix = Array.from({ length: depth }, (_, l) => ({
    keys: g.input(`keys.${l}`, g.compute, ['B', kvHeads, 'P', headDim]),
    values: g.input(`values.${l}`, g.compute, ['B', kvHeads, 'P', headDim]),
  }))
  const lengths = g.input('lengths', 'int64', ['B'])

  const variant = variantOf(config)
  let tokens = variant.stateToken
    ? stateAndActions(site, x, modulation)
    : dense(site, x, 'action_in_proj', { type: 'float32' })
  const [ofX, ofVelocity, ofTarget] = g.split(update, 2, [1, 1, 1]) as [Value, Value, Value]
  const norms = variant.adaptiveNorms
    ? adaptive(site, modulation, given(site, ofVelocity, ofTarget))
    : folded(site)

  const offsets = g.unsqueeze(g.range(g.sizeOf(tokens, 1)), [0])
  const rope = ropeTables(g, g.add(g.unsqueeze(lengths, [1]), offsets), headDim, config.ropeTheta)
  const prefixPositions = g.unsqueeze(g.range(g.sizeOf(prefix[0]!.keys, 2)), [0])
  const padding = paddingMask(g, prefixPositions, lengths)
  const suffixMask = variant.stateToken ? blockCausal(site, offsets) : (logits: Value) => logits
  for (let l = 0; l < depth; l++)
    tokens = g.scope(`layer.${l}`, () =>
      expertBlock(site, tokens, l, [norms[2 * l]!, norms[2 * l + 1]!], rope, suffixMask, {
        ...prefix[l]!,
        mask: logits => g.add(logits, padding),
      }),
    )

  const final = norms[2 * depth]!.apply(tokens)
  const actions = variant.stateToken
    ? g.splitAt(final, 1, g.concat([g.integers([1]), g.sizeOf(x, 1)], 0), 2)[1]!
    : final
  const { rmsNorm } = norms[2 * depth]!.input
  const velocity = linear(site, actions, 'action_out_proj', [{ weight: 'action_out_proj.weight' }], {
    biases: ['action_out_proj.bias'],
    type: 'float32',
    ...(rmsNorm && { rmsNorm }),
  })
  const moved = g.add(g.multiply(ofX, x), g.multiply(ofVelocity, velocity))
  g.output('x_next', g.add(moved, g.multiply(ofTarget, target)), chunk)
  g.output('velocity', velocity, chunk)
}

/** Which rows [B, H, 1] are given, and the modulation of time 0; for checkpoints that were trained with given rows. */
interface Given {
  rows: Value
  modulation: Value
}

function given({ g, config }: Site, ofVelocity: Value, ofTarget: Value): Given | undefined {
  if (config.trainedDelay === 0) return undefined
  const zero = g.floats('float32', 0)
  return {
    rows: g.and(g.equal(ofVelocity, zero), g.equal(ofTarget, zero)),
    modulation: g.input('given_modulation', 'float32', [modulationSize(config)]),
  }
}

/**
 * pi05: RMS(x)⊙(1 + scale) + shift, and a gate on the sub-layer's output, from this step's modulation; rows that are
 * given have that of time 0.
 */
function adaptive(site: Site, modulation: Value, given: Given | undefined): Norm[] {
  const { g, config } = site
  const { width } = config.expert
  const names = adaptiveNorms(config)
  const vectorsOf = (of: Value) => g.split(of, 0, new Array<number>(3 * names.length).fill(width))
  const moving = vectorsOf(modulation)
  const still = given && vectorsOf(given.modulation)
  const vectors = given ? moving.map((vector, i) => g.where(given.rows, still![i]!, vector)) : moving
  return names.map((_, n) => {
    const [scale, shift, gate] = vectors.slice(3 * n) as [Value, Value, Value]
    return {
      apply: x => g.add(g.multiply(rmsNorm(site, x, width), scale), shift),
      gate: y => g.multiply(g.cast(y, 'float32'), gate),
      input: {},
    }
  })
}

/** pi0: plain RMSNorm. */
function folded(site: Site): Norm[] {
  return adaptiveNorms(site.config).map(name => ({
    apply: x => rmsNorm(site, x, site.config.expert.width),
    gate: y => y,
    input: { rmsNorm: `${name}.weight` },
  }))
}

/** pi0's suffix: the state token, then one token an action row with the time mixed in (network §1). */
function stateAndActions(site: Site, x: Value, modulation: Value): Value {
  const { g, config } = site
  const { width } = config.expert
  const state = g.input('state', 'float32', ['B', config.actionDim])
  const action = dense(site, x, 'action_in_proj', { type: 'float32' })
  const actionPart = { weight: 'action_time_mlp_in.weight', inputs: [0, width] } as const
  const mixed = linear(site, action, 'action_time_mlp_in', [actionPart], { type: 'float32' })
  const actions = dense(site, g.swish(g.add(mixed, modulation)), 'action_time_mlp_out', { type: 'float32' })
  return g.concat([g.unsqueeze(dense(site, state, 'state_proj', { type: 'float32' }), [1]), actions], 1)
}

/** pi0's mask within the suffix: the state token, position 0, sees itself alone. */
function blockCausal({ g, config }: Site, offsets: Value): (logits: Value) => Value {
  const { heads, kvHeads } = config.expert
  const one = g.integers([1], [])
  const isState = g.unsqueeze(g.less(offsets, one), [2])
  const isAction = g.unsqueeze(g.less(g.integers([0], []), offsets), [0])
  const mask = g.where(g.and(isState, isAction), g.floats('float32', -1e30), g.floats('float32', 0))
  return logits => {
    const size = g.sizeOf(mask, 2)
    const perHead = g.concat([g.integers([0, kvHeads, heads / kvHeads, -1]), size], 0)
    const masked = g.add(g.apply('Reshape', [logits, perHead]), mask)
    return g.apply('Reshape', [masked, g.concat([g.integers([0, kvHeads, -1]), size], 0)])
  }
}

/** One layer of the action expert: its queries attend to the prefix and to the suffix. */
function expertBlock(
  site: Site,
  x: Value,
  index: number,
  [before, after]: readonly [Norm, Norm],
  rope: RopeTables,
  suffixMask: Attended['mask'],
  prefix: Attended,
): Value {
  const { g, config } = site
  const { expert } = config
  const layer = `${EXPERT}.layers.${index}`
  const { q, keys, values } = queriesKeysValues(site, before.apply(x), layer, expert, rope, before.input)
  const mixed = attend(g, q, [prefix, { keys, values, mask: suffixMask }])
  const middle = residual(g, x, before.gate(outputProjection(site, mixed, layer, expert, before.input)))
  return residual(
    g,
    middle,
    after.gate(gatedMlp(site, after.apply(middle), layer, expert.mlpDim, after.input)),
  )
}
