import { basename } from 'node:path'
import { reasonOf, TurboPiError } from '../errors.js'
import { type ModelConfig, tokensPerImage } from '../families/pi0/config.js'
import type { PerceiveRow } from '../families/pi0/perceive-row.js'
import { variantOf } from '../families/pi0/variant.js'
import { type Difference, difference } from '../runtime/agreement/difference.js'
import type { CaseTensors } from '../runtime/agreement/run-case.js'
import { Safetensors } from '../storage/safetensors.js'
import { combined } from './results.js'

/** One golden case: the network's inputs, and the reference's intermediate tensors as far as the file holds them. */
export interface GoldenCase {
  name: string
  /** The model that it was made with, as the file's metadata names it. */
  model: string | undefined
  steps: number
  /** [rows, horizon, actionDim]. */
  noise: Float32Array
  horizon: number
  rows: PerceiveRow[]
  tensors: Safetensors
}

const refuse = (path: string, detail: string) => new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`)

/** Opens a safetensors file of a golden case. Throws CHECKPOINT_INVALID. Close its `tensors` when done. */
export function openGoldenCase(path: string, config: ModelConfig): GoldenCase {
  const tensors = Safetensors.open(path)
  try {
    return readCase(path, tensors, config)
  } catch (error) {
    tensors.close()
    throw error instanceof TurboPiError ? error : refuse(path, reasonOf(error))
  }
}

function readCase(path: string, tensors: Safetensors, config: ModelConfig): GoldenCase {
  const [batch, horizon, actionDim] = tensors.entry('in.noise').shape as [number, number, number]
  if (actionDim !== config.actionDim)
    throw refuse(path, `in.noise has rows of ${actionDim} numbers, the model's have ${config.actionDim}`)
  const steps = Number(tensors.metadata['num_steps'])
  if (!Number.isInteger(steps) || steps < 1)
    throw refuse(
      path,
      `metadata num_steps is ${JSON.stringify(tensors.metadata['num_steps'])}; expected a number of steps`,
    )
  const tokens = tensors.float32('in.tokens')
  const tokenMask = tensors.bytes('in.token_mask')
  const length = tokens.length / batch
  const pixels = config.vision.imageSize ** 2 * 3
  const rows = Array.from({ length: batch }, (_, b): PerceiveRow => {
    const state = tensors.tensors.has('in.state') && tensors.float32('in.state', b * actionDim, actionDim)
    return {
      images: config.cameraSlots.map(slot =>
        tensors.bytes(`in.image_mask.${slot}`)[b]
          ? tensors.bytes(`in.image.${slot}`, b * pixels, pixels)
          : null,
      ),
      tokens: Int32Array.from(tokens.subarray(b * length, (b + 1) * length)).filter(
        (_, i) => tokenMask[b * length + i],
      ),
      ...(state && variantOf(config).stateToken && { state }),
    }
  })
  return {
    name: basename(path, '.safetensors'),
    model: tensors.metadata['model'],
    steps,
    noise: tensors.float32('in.noise'),
    horizon,
    rows,
    tensors,
  }
}

/**
 * Differences between a traced inference and the reference, for every kind of tensor that the case holds; prefix tensors
 * are compared where the prefix is valid. `actions` names the tensor that the actions are compared with.
 */
export function compareToGolden(
  golden: GoldenCase,
  trace: Required<CaseTensors>,
  config: ModelConfig,
  actions = 'out.actions',
): Record<string, Difference> {
  const { tensors } = golden
  const differences: Record<string, Difference> = {}
  const put = (kind: string, parts: (Difference & { count: number })[]) => {
    if (parts.length) differences[kind] = combined(parts)
  }
  put('image_embed', imageDifferences(golden, trace.imageEmbeddings, config))
  put('prefix_k', prefixDifferences(golden, trace.keys, 'mid.prefix_k', config))
  put('prefix_v', prefixDifferences(golden, trace.values, 'mid.prefix_v', config))
  const steps = (name: string, actual: readonly Float32Array[]) =>
    tensors.tensors.has(name)
      ? [
          measured(
            actual.flatMap(step => [...step]),
            tensors.float32(name),
          ),
        ]
      : []
  put('v_t', steps('mid.v_t', trace.velocity))
  put('x_t', steps('mid.x_t', trace.x))
  put('actions', [measured(trace.actions, tensors.float32(actions))])
  return differences
}

const measured = (actual: ArrayLike<number>, expected: ArrayLike<number>) => ({
  ...difference(actual, expected),
  count: expected.length,
})

function imageDifferences({ rows, tensors }: GoldenCase, embeddings: Float32Array, config: ModelConfig) {
  const size = tokensPerImage(config) * config.prefix.width
  const parts = []
  let image = 0
  for (const [b, row] of rows.entries())
    for (const [slot, name] of config.cameraSlots.entries()) {
      if (!row.images[slot]) continue
      const actual = embeddings.subarray(image * size, ++image * size)
      const tensor = `mid.image_embed.${name}`
      if (tensors.tensors.has(tensor)) parts.push(measured(actual, tensors.float32(tensor, b * size, size)))
    }
  return parts
}

function prefixDifferences(
  { rows, tensors }: GoldenCase,
  layers: readonly Float32Array[],
  tensor: string,
  config: ModelConfig,
) {
  const { kvHeads, headDim } = config.prefix
  const parts = []
  for (const [l, actual] of layers.entries()) {
    if (!tensors.tensors.has(`${tensor}.${l}`)) continue
    const expected = tensors.float32(`${tensor}.${l}`)
    const mask = tensors.bytes('mid.prefix_pad_mask')
    const padded = mask.length / rows.length
    const positions = actual.length / (rows.length * kvHeads * headDim)
    for (let b = 0; b < rows.length; b++)
      for (let head = 0; head < kvHeads; head++) {
        let position = 0
        for (let p = 0; p < padded; p++) {
          if (!mask[b * padded + p]) continue
          const from = ((b * kvHeads + head) * positions + position++) * headDim
          const there = ((b * kvHeads + head) * padded + p) * headDim
          parts.push(
            measured(actual.subarray(from, from + headDim), expected.subarray(there, there + headDim)),
          )
        }
      }
  }
  return parts
}
