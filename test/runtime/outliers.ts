import type { ModelConfig } from '../../src/families/pi0/config.js'
import { EXPERT, PREFIX, PROJECTOR, VISION } from '../../src/families/pi0/tensors.js'
import { Safetensors, type TensorToWrite, writeSafetensors } from '../../src/storage/safetensors.js'
import { numbers } from '../families/models.js'

/** Rows, columns or elements of tensors, times a factor. */
type Scaling = (name: string, factor: number) => void

/**
 * Writes the checkpoint `from` to `to` with outlier channels: in every place where a channel's scale can be moved into
 * the weights that read it, some channels become 30 to 100 times larger there. The network it describes stays the same.
 */
export function plantOutliers(from: string, to: string, config: ModelConfig): void {
  const store = Safetensors.open(from)
  const tensors = new Map([...store.tensors.keys()].map(name => [name, store.float32(name)]))
  const width = (name: string) => store.entry(name).shape[1]!
  const next = numbers(7)
  /** Some channels of `count`, each with its factor. */
  const outliers = (count: number) =>
    Array.from({ length: 3 }, () => {
      const channel = Math.floor(((next() + 1) / 2) * count)
      return { channel, factor: 30 + 35 * (next() + 1) }
    }).filter(({ channel }, i, all) => all.findIndex(other => other.channel === channel) === i)

  const element =
    (index: number): Scaling =>
    (name, factor) => {
      tensors.get(name)![index]! *= factor
    }
  const row =
    (index: number): Scaling =>
    (name, factor) => {
      const from = index * width(name)
      for (let i = from; i < from + width(name); i++) element(i)(name, factor)
    }
  const column =
    (index: number): Scaling =>
    (name, factor) => {
      for (let i = index; i < tensors.get(name)!.length; i += width(name)) element(i)(name, factor)
    }
  /** What multiplies as 1 + w. */
  const onePlus = (name: string, index: number, factor: number) => {
    const values = tensors.get(name)!
    values[index] = factor * (1 + values[index]!) - 1
  }
  const readers = (layer: string, attention: boolean) =>
    (attention
      ? ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj']
      : ['mlp.gate_proj', 'mlp.up_proj']
    ).map(part => `${layer}.${part}.weight`)

  for (let l = 0; l < config.vision.depth; l++) visionLayer(`${VISION}.encoder.layers.${l}`)
  for (const { channel, factor } of outliers(config.vision.width)) {
    for (const part of ['weight', 'bias']) element(channel)(`${VISION}.post_layernorm.${part}`, factor)
    column(channel)(`${PROJECTOR}.weight`, 1 / factor)
  }
  for (let l = 0; l < config.prefix.depth; l++) {
    const layers = [`${PREFIX}.layers.${l}`, `${EXPERT}.layers.${l}`]
    sharedAttention(layers)
    for (const [layer, { width, mlpDim }] of [
      [layers[0]!, config.prefix],
      [layers[1]!, config.expert],
    ] as const) {
      norms(layer, width)
      for (const { channel, factor } of outliers(mlpDim)) {
        row(channel)(`${layer}.mlp.up_proj.weight`, factor)
        column(channel)(`${layer}.mlp.down_proj.weight`, 1 / factor)
      }
    }
  }

  function visionLayer(layer: string): void {
    const { width, heads } = config.vision
    const linear = (name: string) => `${layer}.self_attn.${name}_proj`
    for (const { channel, factor } of outliers(width)) {
      for (const part of ['weight', 'bias']) element(channel)(`${layer}.layer_norm1.${part}`, factor)
      for (const name of ['q', 'k', 'v']) column(channel)(`${linear(name)}.weight`, 1 / factor)
    }
    for (const { channel, factor } of outliers(width)) {
      for (const part of ['weight', 'bias']) element(channel)(`${layer}.layer_norm2.${part}`, factor)
      column(channel)(`${layer}.mlp.fc1.weight`, 1 / factor)
    }
    for (const { channel, factor } of outliers(width)) {
      row(channel)(`${linear('v')}.weight`, factor)
      element(channel)(`${linear('v')}.bias`, factor)
      column(channel)(`${linear('out')}.weight`, 1 / factor)
    }
    for (const { channel, factor } of outliers(width / heads))
      for (let head = 0; head < heads; head++)
        for (const [name, by] of [
          ['q', factor],
          ['k', 1 / factor],
        ] as const) {
          row((head * width) / heads + channel)(`${linear(name)}.weight`, by)
          element((head * width) / heads + channel)(`${linear(name)}.bias`, by)
        }
  }

  /** Queries of both transformers meet the keys of both, and both output projections read the values of both. */
  function sharedAttention(layers: readonly string[]): void {
    const { heads, kvHeads, headDim } = config.prefix
    const scale = (name: string, rows: number, channel: number, by: number) => {
      for (const layer of layers)
        for (let head = 0; head < rows; head++)
          row(head * headDim + channel)(`${layer}.self_attn.${name}_proj.weight`, by)
    }
    for (const { channel, factor } of outliers(headDim / 2))
      for (const half of [0, headDim / 2]) {
        scale('q', heads, channel + half, factor)
        scale('k', kvHeads, channel + half, 1 / factor)
      }
    for (const { channel, factor } of outliers(headDim)) {
      scale('v', kvHeads, channel, factor)
      for (const layer of layers)
        for (let head = 0; head < heads; head++)
          column(head * headDim + channel)(`${layer}.self_attn.o_proj.weight`, 1 / factor)
    }
  }

  function norms(layer: string, width: number): void {
    for (const attention of [true, false]) {
      const norm = `${layer}.${attention ? 'input' : 'post_attention'}_layernorm`
      for (const { channel, factor } of outliers(width)) {
        for (const reader of readers(layer, attention)) column(channel)(reader, 1 / factor)
        if (tensors.has(`${norm}.weight`)) {
          onePlus(`${norm}.weight`, channel, factor)
          continue
        }
        row(channel)(`${norm}.dense.weight`, factor)
        onePlus(`${norm}.dense.bias`, channel, factor)
        row(width + channel)(`${norm}.dense.weight`, factor)
        element(width + channel)(`${norm}.dense.bias`, factor)
      }
    }
  }

  const written = new Map<string, TensorToWrite>()
  for (const [name, values] of tensors)
    written.set(name, { dtype: 'F32', shape: store.entry(name).shape, pieces: () => [values] })
  writeSafetensors(to, written, store.metadata)
  store.close()
}
