import { existsSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { reasonOf, TurboPiError } from '../errors.js'
import { type ModelConfig, tokensPerImage } from '../families/pi0/config.js'
import type { PerceiveRow } from '../families/pi0/perceive-row.js'
import { type Sampling, samplingRows } from '../families/pi0/sampling.js'
import { variantOf } from '../families/pi0/variant.js'
import { type Difference, difference } from '../runtime/agreement/difference.js'
import type { CaseTensors } from '../runtime/agreement/run-case.js'
import { Safetensors } from '../storage/safetensors.js'
import { combined, NotComputed } from './results.js'
import { BOTH_GRIDS, continued, type Reference, RTC_MODES, type RtcMode, takenVelocity } from './rtc-case.js'

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
  /** One a row, from the steps and the noise; rows of real-time chunking continue a chunk. */
  sampling: readonly Sampling[]
  /** The config to run it with: the weights serve any horizon and prompt length, and any checkpoint may be given rows. */
  config: ModelConfig
  /** What the actions are compared with; the intermediate tensors are of the first. */
  references: readonly [Reference, ...Reference[]]
  tensors: Safetensors
}

const refuse = (path: string, detail: string) => new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`)

/**
 * Opens a safetensors file of a golden case. One that takes its observation from another case (metadata `inputs_from`)
 * finds it in the folder `inputs`, else beside itself, else in ../../cases. Throws CHECKPOINT_INVALID, or NotComputed.
 * Close its `tensors` when done.
 */
export function openGoldenCase(path: string, config: ModelConfig, inputs?: string): GoldenCase {
  const tensors = Safetensors.open(path)
  try {
    const { inputs_from: from } = tensors.metadata
    if (from === undefined) return readCase(path, tensors, tensors, config)
    const observation = Safetensors.open(observationPath(path, `${from}.safetensors`, inputs))
    try {
      return readCase(path, tensors, observation, config)
    } finally {
      observation.close()
    }
  } catch (error) {
    tensors.close()
    if (error instanceof TurboPiError || error instanceof NotComputed) throw error
    throw refuse(path, reasonOf(error))
  }
}

function observationPath(path: string, name: string, inputs: string | undefined): string {
  const beside = dirname(resolve(path))
  const folders = [...(inputs === undefined ? [] : [inputs]), beside, join(beside, '../../cases')]
  const found = folders.map(folder => join(folder, name)).find(existsSync)
  if (found) return found
  throw refuse(path, `its observation is that of ${name}, which is not in ${folders.join(', ')} (--inputs)`)
}

function modeOf({ metadata: { mode } }: Safetensors): Exclude<RtcMode, 'guided_vjp'> | undefined {
  if (mode === undefined) return undefined
  if (mode === 'guided' || mode === 'trained') return mode
  if (mode === 'guided_vjp')
    throw new NotComputed('mode guided_vjp, with a backward pass through the network, is not computed')
  throw new Error(`metadata mode is ${JSON.stringify(mode)}; expected ${RTC_MODES.join(', ')}`)
}

/** `inputs` holds the observation, `tensors` all else. */
function readCase(path: string, tensors: Safetensors, inputs: Safetensors, config: ModelConfig): GoldenCase {
  const mode = modeOf(tensors)
  const [batch, horizon, actionDim] = tensors.entry('in.noise').shape as [number, number, number]
  if (actionDim !== config.actionDim)
    throw refuse(path, `in.noise has rows of ${actionDim} numbers, the model's have ${config.actionDim}`)
  const steps = Number(tensors.metadata['num_steps'])
  if (!Number.isInteger(steps) || steps < 1)
    throw refuse(
      path,
      `metadata num_steps is ${JSON.stringify(tensors.metadata['num_steps'])}; expected a number of steps`,
    )
  const tokens = inputs.float32('in.tokens')
  const tokenMask = inputs.bytes('in.token_mask')
  const length = tokens.length / batch
  const pixels = config.vision.imageSize ** 2 * 3
  const rows = Array.from({ length: batch }, (_, b): PerceiveRow => {
    const state = inputs.tensors.has('in.state') && inputs.float32('in.state', b * actionDim, actionDim)
    return {
      images: config.cameraSlots.map(slot =>
        inputs.bytes(`in.image_mask.${slot}`)[b]
          ? inputs.bytes(`in.image.${slot}`, b * pixels, pixels)
          : null,
      ),
      tokens: Int32Array.from(tokens.subarray(b * length, (b + 1) * length)).filter(
        (_, i) => tokenMask[b * length + i],
      ),
      ...(state && variantOf(config).stateToken && { state }),
    }
  })
  const noise = tensors.float32('in.noise')
  const plain = samplingRows(noise, batch, steps)
  return {
    name: basename(path, '.safetensors'),
    model: tensors.metadata['model'],
    steps,
    noise,
    horizon,
    rows,
    sampling: mode ? continued(plain, tensors, mode, actionDim) : plain,
    config: {
      ...config,
      actionHorizon: horizon,
      maxTokenLength: Math.max(config.maxTokenLength, ...rows.map(row => row.tokens.length)),
      ...(mode === 'trained' && { trainedDelay: horizon }),
    },
    references: mode ? BOTH_GRIDS : [{ kind: 'actions', tensor: 'out.actions' }],
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
  put('v_guided', steps('mid.v_guided', takenVelocity(trace.x, trace.actions)))
  put('actions', [measuredActions(trace.actions, tensors.float32(actions))])
  return differences
}

const measured = (actual: ArrayLike<number>, expected: ArrayLike<number>) => ({
  ...difference(actual, expected),
  count: expected.length,
})

/** Normalised actions stay within it; where overshooting guidance leads beyond, differences count in parts of the largest. */
const USUAL_ACTION = 10

function measuredActions(actual: Float32Array, expected: Float32Array) {
  const { max, mean, count } = measured(actual, expected)
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), USUAL_ACTION)
  const scale = USUAL_ACTION / largest
  return { max: max * scale, mean: mean * scale, count }
}

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
