import {
  type GemmaConfig,
  type ModelConfig,
  maxPrefixLength,
  tokensPerImage,
} from '../../families/pi0/config.js'
import { variantOf } from '../../families/pi0/variant.js'
import { type Precision, type ProductType, productsOf } from '../../onnx/arithmetic.js'
import { tokenBuckets } from '../gpu/token-buckets.js'

interface NativeTransformer {
  width: number
  depth: number
  mlp: number
  heads: number
  kvHeads: number
  headDim: number
  /** Its MLPs are in 8-bit floats. */
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

/** Whether a graph's MLPs are in 8-bit floats, which is what the kernels have. Throws for other places of them. */
function mlpsInFloat8(precision: Precision, graph: string, how: ProductType): boolean {
  const { up = 'float', down = 'float', ...rest } = productsOf(precision, graph)
  const asked = [up, down, ...Object.values(rest)].filter(product => product !== 'float')
  if (asked.length === 0) return false
  if (asked.length === 2 && up === how && down === how) return true
  throw new TypeError(`the CUDA kernels compute the MLPs of ${graph} by ${how}, and nothing else of it`)
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
      float8: mlpsInFloat8(precision, 'vision', 'float'),
    },
    prefix: transformer(prefix, mlpsInFloat8(precision, 'prefix', 'fp8')),
    expert: transformer(expert, mlpsInFloat8(precision, 'denoise', 'fp8Weights')),
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
