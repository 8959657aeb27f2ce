import type { ValueInfo } from '../../onnx/encode.js'
import { type ModelConfig, maxPrefixLength } from './config.js'
import { MAX_STEPS } from './sampling.js'

/** Sizes that a named dimension may have, and the one to be fastest at. */
export interface SizeRange {
  min: number
  opt: number
  max: number
}

/** Names of the graphs' dimensions: images, prompt tokens, rows, prefix positions, action rows, denoise steps. */
export type DimensionName = 'n' | 't' | 'B' | 'P' | 'H' | 'N'

/** The sizes of every named dimension when up to `maxBatch` observations share a call. */
export function sizeRanges(config: ModelConfig, maxBatch: number): Record<DimensionName, SizeRange> {
  const cameras = config.cameraSlots.length
  const { maxTokenLength, actionHorizon } = config
  const prefix = maxPrefixLength(config)
  return {
    n: { min: 1, opt: cameras, max: cameras * maxBatch },
    t: { min: 1, opt: maxTokenLength, max: maxTokenLength * maxBatch },
    B: { min: 1, opt: 1, max: maxBatch },
    P: { min: 1, opt: prefix, max: prefix },
    H: { min: actionHorizon, opt: actionHorizon, max: actionHorizon },
    N: { min: 1, opt: 10, max: MAX_STEPS },
  }
}

/** The shape of a graph's input with every named dimension at one end of its range. */
export function shapeAt(
  { shape }: ValueInfo,
  ranges: Readonly<Record<string, SizeRange>>,
  end: keyof SizeRange,
): number[] {
  return shape.map(size => (typeof size === 'number' ? size : ranges[size]![end]))
}
