import type { ModelConfig } from '../../families/pi0/config.js'

/**
 * Token counts a row that the prefix is built for. A prompt is padded to the next one, so that a handful of CUDA graphs
 * serves every prompt; padding costs what the masked positions cost.
 */
const TOKEN_BUCKETS = [32, 64, 96, 128]

/** The buckets of a policy, ascending; the last one is its longest prompt. */
export function tokenBuckets({ maxTokenLength }: ModelConfig): number[] {
  return [...TOKEN_BUCKETS.filter(bucket => bucket < maxTokenLength), maxTokenLength]
}
