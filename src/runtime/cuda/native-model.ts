import { isDeepStrictEqual } from 'node:util'
import {
  type GemmaConfig,
  type ModelConfig,
  maxPrefixLength,
  tokensPerImage,
} from '../../families/pi0/config.js'
import { variantOf } from '../../families/pi0/variant.js'
import { type Precision, type Products, productsOf } from '../../onnx/arithmetic.js'
import { tokenBuckets } from '../gpu/token-buckets.js'

interface NativeTransformer {
  width: number
  depth: number
  mlp: number
  heads: number
  kvHeads: number
  headDim: number
  /** Its MLPs, of the vision tower what enters them, are in 8-bit floats. */
  float8: boolean
}

/** A model's sizes as the addon's CUDA stages take them. */
export interface NativeModel {
  pi05: boolean
  /** Rows of actions may be given. */
  given: boolean
  element: 'float32' | 'bfloat16'
  vision: NativeTransformer
  prefix: NativeTransformer
  expert: NativeTransformer
  imageSize: number
  patch: number
  vocabulary: number
  horizon: number
  actionDim: number
  ropeTheta: number
  rmsEpsilon: number
  layerNormEpsilon: number
  maxBatch: number
  maxImages: number
  maxPrefix: number
  tokenBuckets: number[]
}

const transformer = (
  { width, depth, mlpDim, heads, kvHeads, headDim }: GemmaConfig,
  float8: boolean,
): NativeTransformer => ({
  width,
  depth,
  mlp: mlpDim,
  heads,
  kvHeads,
  headDim,
  float8,
})

/** Where the kernels have 8-bit floats: of each graph either in all of these places or in none. */
const FLOAT8 = {
  vision: { up: 'fp8' },
  prefix: { up: 'fp8', down: 'fp8' },
  denoise: { up: 'fp8Weights', down: 'fp8Weights' },
} as const satisfies Record<string, Products>

function inFloat8(precision: Precision, graph: keyof typeof FLOAT8): boolean {
  const asked = Object.entries(productsOf(precision, graph)).filter(([, how]) => how !== 'float')
  if (asked.length === 0) return false
  if (isDeepStrictEqual(Object.fromEntries(asked), FLOAT8[graph])) return true
  throw new TypeError(
    `of ${graph} the CUDA kernels compute ${JSON.stringify(FLOAT8[graph])} in 8 bits or nothing, not ${JSON.stringify(Object.fromEntries(asked))}`,
  )
}

export function nativeModel(config: ModelConfig, precision: Precision, maxBatch: number): NativeModel {
  const { vision, prefix, expert } = config
  const perImage = tokensPerImage(config)
  return {
    pi05: variantOf(config).adaptiveNorms,
    given: config.trainedDelay > 0,
    element: precision === 'fp32' ? 'float32' : 'bfloat16',
    vision: {
      width: vision.width,
      depth: vision.depth,
      mlp: vision.mlpDim,
      heads: vision.heads,
      kvHeads: vision.heads,
      headDim: vision.width / vision.heads,
      float8: inFloat8(precision, 'vision'),
    },
    prefix: transformer(prefix, inFloat8(precision, 'prefix')),
    expert: transformer(expert, inFloat8(precision, 'denoise')),
    imageSize: vision.imageSize,
    patch: vision.patch,
    vocabulary: config.vocabSize,
    horizon: config.actionHorizon,
    actionDim: config.actionDim,
    ropeTheta: config.ropeTheta,
    rmsEpsilon: config.rmsNormEps,
    layerNormEpsilon: vision.layerNormEps,
    maxBatch,
    maxImages: Math.max(1, config.cameraSlots.length) * maxBatch,
    maxPrefix: Math.max(maxPrefixLength(config), perImage),
    tokenBuckets: tokenBuckets(config),
  }
}
