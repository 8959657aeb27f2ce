import { type ModelConfig, tokensPerImage } from '../../families/pi0/config.js'
import type { PrefixLayout } from '../prefix-layout.js'
import type { NativePerceive } from './addon.js'

/** A batch as the engines take it, and the longest row's places before padding. */
export interface EngineBatch {
  input: Omit<NativePerceive, 'slot'>
  positions: number
  /** Pictures that the rows really have. */
  pictures: number
}

/**
 * Pads a batch to the sizes that CUDA graphs are captured for: prompts to a token bucket, the prefix to
 * the most cameras of any row and that bucket. Padding points at place 0 and is masked by `lengths`. A batch without any
 * picture carries a blank one that no row points at, since an engine takes no empty tensor.
 */
export function engineBatch(
  layout: PrefixLayout,
  config: ModelConfig,
  buckets: readonly number[],
): EngineBatch {
  const perImage = tokensPerImage(config)
  const { tokenCounts } = layout
  const bucket = buckets.find(size => tokenCounts.every(count => count <= size))!
  const cameras = Math.max(
    ...tokenCounts.map((count, row) => (Number(layout.lengths[row]) - count) / perImage),
  )
  const prefixLength = cameras * perImage + bucket
  const blank = layout.imageCount === 0

  const tokens = new BigInt64Array(layout.batch * bucket)
  tokens.set(layout.tokens)
  const source = new BigInt64Array(layout.batch * prefixLength)
  const shift = blank ? BigInt(perImage) : 0n
  for (let row = 0; row < layout.batch; row++)
    for (let place = 0; place < Number(layout.lengths[row]); place++)
      source[row * prefixLength + place] = layout.source[row * layout.positions + place]! + shift
  return {
    positions: layout.positions,
    pictures: layout.imageCount,
    input: {
      batch: layout.batch,
      imageCount: blank ? 1 : layout.imageCount,
      prefixLength,
      images: blank ? new Uint8Array(config.vision.imageSize ** 2 * 3) : layout.images,
      tokens,
      source,
      lengths: layout.lengths,
    },
  }
}

/** The first `positions` of every head of [batch, kvHeads, prefixLength, headDim]. */
export function cropped(
  cache: Float32Array,
  { prefixLength }: Pick<NativePerceive, 'prefixLength'>,
  positions: number,
  headDim: number,
): Float32Array {
  const heads = cache.length / (prefixLength * headDim)
  const out = new Float32Array(heads * positions * headDim)
  for (let head = 0; head < heads; head++) {
    const from = head * prefixLength * headDim
    out.set(cache.subarray(from, from + positions * headDim), head * positions * headDim)
  }
  return out
}
