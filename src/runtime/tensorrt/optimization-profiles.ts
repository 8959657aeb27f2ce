import { createHash } from 'node:crypto'
import type { LoweredModel } from '../../families/lowered-model.js'
import { type ModelConfig, maxPrefixLength } from '../../families/pi0/config.js'
import { type SizeRange, shapeAt, sizeRanges } from '../../families/pi0/sizes.js'
import type { EngineName, InputRange } from '../gpu/addon.js'
import { tokenBuckets } from '../gpu/token-buckets.js'

/** The optimization profiles of one engine: one a token bucket for the prefix, one for the others. */
export function profilesOf(
  name: EngineName,
  { graphs }: Pick<LoweredModel, 'graphs'>,
  config: ModelConfig,
  maxBatch: number,
): InputRange[][] {
  const ranges = sizeRanges(config, maxBatch)
  const buckets = tokenBuckets(config)
  const longestPrompt = buckets.at(-1)!
  const images = maxPrefixLength(config) - config.maxTokenLength
  const profile = (sizes: Readonly<Record<string, SizeRange>>) =>
    graphs[name].inputs
      .filter(({ shape }) => shape.some(size => typeof size === 'string'))
      .map(input => ({
        tensor: input.name,
        min: shapeAt(input, sizes, 'min'),
        opt: shapeAt(input, sizes, 'opt'),
        max: shapeAt(input, sizes, 'max'),
      }))
  // The shortest prefix is a lone prompt without cameras, padded to its bucket.
  const positions = (shortest: number, longest: number) => ({
    min: shortest,
    opt: images + longest,
    max: images + longest,
  })
  if (name !== 'prefix') return [profile({ ...ranges, P: positions(buckets[0]!, longestPrompt) })]
  return buckets.map(bucket =>
    profile({
      ...ranges,
      t: { min: bucket, opt: bucket, max: bucket * maxBatch },
      P: positions(bucket, bucket),
    }),
  )
}

/** Names the shapes that a set of engines was built for. */
export function shapesDigest(profiles: Readonly<Record<EngineName, InputRange[][]>>): string {
  return createHash('sha256').update(JSON.stringify(profiles)).digest('hex').slice(0, 12)
}
