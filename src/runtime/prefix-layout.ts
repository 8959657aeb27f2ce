import { TurboPiError } from '../errors.js'
import { type ModelConfig, maxPrefixLength, tokensPerImage } from '../families/pi0/config.js'
import { variantOf } from '../families/pi0/variant.js'
import type { PerceiveRow } from './runtime.js'

/** A batch of observations as the vision and prefix graphs take it: nothing masked, nothing padded but the rows' ends. */
export interface PrefixLayout {
  batch: number
  /** Longest row. */
  positions: number
  /** Valid prefix tokens of each row. */
  lengths: BigInt64Array
  /** The valid cameras' pixels, in row then slot order: u8 [imageCount, size, size, 3]. */
  images: Uint8Array<ArrayBuffer>
  imageCount: number
  /** The valid prompt tokens, row after row. */
  tokens: BigInt64Array
  /** Prompt tokens of each row. */
  tokenCounts: readonly number[]
  /** [batch, positions]: row of [all image embeddings ‖ all token embeddings]; 0 past a row's length. */
  source: BigInt64Array
  /** [batch, actionDim], where the network takes a state. */
  state?: Float32Array
}

const refuse = (detail: string) => new TurboPiError('RUNTIME_FAILED', detail)

function checkRow(row: PerceiveRow, index: number, config: ModelConfig): void {
  const { cameraSlots, vision, maxTokenLength, vocabSize, actionDim } = config
  const bytes = vision.imageSize ** 2 * 3
  if (row.images.length !== cameraSlots.length)
    throw refuse(
      `row ${index} has ${row.images.length} images; the network has ${cameraSlots.length} camera slots`,
    )
  for (const [slot, image] of row.images.entries())
    if (image && image.length !== bytes)
      throw refuse(
        `row ${index}, ${cameraSlots[slot]}: ${image.length} bytes; expected ${bytes} (${vision.imageSize}×${vision.imageSize}×3)`,
      )
  if (row.tokens.length > maxTokenLength)
    throw refuse(`row ${index} has ${row.tokens.length} tokens; the policy takes at most ${maxTokenLength}`)
  const unknown = row.tokens.find(token => token < 0 || token >= vocabSize)
  if (unknown !== undefined)
    throw refuse(
      `row ${index} has token ${unknown}; the vocabulary has ${vocabSize} (is the tokenizer the model's?)`,
    )
  if (row.tokens.length === 0 && row.images.every(image => image === null))
    throw refuse(`row ${index} has neither an image nor a token`)
  if (variantOf(config).stateToken && row.state?.length !== actionDim)
    throw refuse(
      `row ${index} has a state of ${row.state?.length ?? 0} numbers; ${config.modelType} needs ${actionDim}`,
    )
}

/** Lays observations out for the graphs (network §3.10). Throws RUNTIME_FAILED when a row does not fit the config. */
export function layOut(rows: readonly PerceiveRow[], config: ModelConfig): PrefixLayout {
  for (const [index, row] of rows.entries()) checkRow(row, index, config)
  const perImage = tokensPerImage(config)
  const pictures = rows.map(row => row.images.filter(image => image !== null))
  const lengths = rows.map((row, b) => pictures[b]!.length * perImage + row.tokens.length)
  const positions = Math.max(...lengths)
  const images = pictures.flat()
  const pixels = new Uint8Array(images.length * config.vision.imageSize ** 2 * 3)
  for (const [i, image] of images.entries()) pixels.set(image, i * image.length)

  const source = new BigInt64Array(rows.length * positions)
  let imageRow = 0
  let tokenRow = images.length * perImage
  for (const [b, row] of rows.entries()) {
    let position = b * positions
    const take = (from: number, count: number) => {
      for (let i = 0; i < count; i++) source[position++] = BigInt(from + i)
      return from + count
    }
    imageRow = take(imageRow, pictures[b]!.length * perImage)
    tokenRow = take(tokenRow, row.tokens.length)
  }
  const state = variantOf(config).stateToken && joined(rows.map(row => row.state!))
  return {
    batch: rows.length,
    positions,
    lengths: BigInt64Array.from(lengths, BigInt),
    images: pixels,
    imageCount: images.length,
    tokens: BigInt64Array.from(
      rows.flatMap(row => [...row.tokens]),
      BigInt,
    ),
    tokenCounts: rows.map(row => row.tokens.length),
    source,
    ...(state && { state }),
  }
}

/** Numbers one after another. */
export function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Numbers of one layer's keys (or values) for a full batch of longest prefixes. */
export function layerCapacity(config: ModelConfig, maxBatch: number): number {
  return maxBatch * config.prefix.kvHeads * maxPrefixLength(config) * config.prefix.headDim
}
