import t from 'tap'
import { cropped, engineBatch } from '../../../src/runtime/gpu/batch.js'
import { tokenBuckets } from '../../../src/runtime/gpu/token-buckets.js'
import { layOut } from '../../../src/runtime/prefix-layout.js'
import { blind, config, image, row } from './small-model.js'

t.test('batches are padded to buckets, and padding points nowhere that counts', t => {
  const buckets = tokenBuckets({ ...config, maxTokenLength: 200 })
  t.same(buckets, [32, 64, 96, 128, 200])
  t.same(tokenBuckets({ ...config, maxTokenLength: 20 }), [20])
  const perImage = (config.vision.imageSize / config.vision.patch) ** 2
  const { input, positions, pictures } = engineBatch(layOut([row, blind], config), config, [4, 8])
  t.equal(positions, 2 * perImage + 3)
  t.equal(pictures, 2)
  t.equal(input.prefixLength, 2 * perImage + 4)
  t.same([...input.tokens], [2n, 3n, 4n, 7n, 0n, 0n, 0n, 0n])
  t.same([...input.lengths], [BigInt(2 * perImage + 3), 1n])
  t.same([...input.source.subarray(2 * perImage - 1, 2 * perImage + 5)].map(Number), [
    ...[2 * perImage - 1, 2 * perImage, 2 * perImage + 1, 2 * perImage + 2, 0],
    2 * perImage + 3,
  ])
  const lone = engineBatch(layOut([blind], config), config, [4, 8])
  t.equal(lone.input.imageCount, 1, 'an engine takes no empty tensor')
  t.equal(lone.input.images.length, image.length)
  t.same([...lone.input.source], [BigInt(perImage), 0n, 0n, 0n], 'no row points at the blank picture')
  t.same([...cropped(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), { prefixLength: 4 }, 3, 1)], [1, 2, 3, 5, 6, 7])
  t.end()
})
