import { join } from 'node:path'
import t from 'tap'
import type { ModelConfig } from '../../src/families/pi0/config.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { samplingRows } from '../../src/families/pi0/sampling.js'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { golden, numbers, smallConfig, writeModelDirectory } from '../families/models.js'

const imagesOf = (config: ModelConfig, count: number) => {
  const next = numbers(11)
  return Array.from({ length: count }, () =>
    Uint8Array.from({ length: config.vision.imageSize ** 2 * 3 }, () => (next() + 1) * 128),
  )
}

const sameBits = (a: Float32Array, b: Float32Array) =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))

/** Batches of rows of three cameras, by image number; null is a masked camera. */
const BATCHES: (number | null)[][][] = [
  [[0, 1, null]],
  [[0, 1, null]],
  [
    [0, 2, 2],
    [3, null, 1],
  ],
  [[4, 5, 0]],
  [[null, null, null]],
  [
    [0, 1, 2],
    [3, 4, 5],
    [0, 0, 0],
  ],
]

async function infer(runtime: Runtime, batch: (number | null)[][], images: Uint8Array[]) {
  const { config } = runtime.info
  const rows = batch.map((cameras, b) => ({
    images: cameras.map(index => (index === null ? null : images[index]!)),
    tokens: Int32Array.of(2, 3, 4 + b),
  }))
  const next = numbers(5)
  const noise = Float32Array.from({ length: batch.length * config.actionHorizon * config.actionDim }, next)
  const { imageEmbeddings } = await runtime.trace(rows, samplingRows(noise, rows.length, 1))
  const prefix = await runtime.perceive(rows)
  const { actions } = await runtime.act([prefix], samplingRows(noise, rows.length, 2))
  prefix.release()
  return { imageEmbeddings, actions, reused: prefix.images?.reused, encoded: prefix.images?.encoded }
}

for (const precision of ['fp32', 'int8'] as const)
  t.test(`${precision}: the same bits with the vision cache and without`, async t => {
    const folder = t.testdir()
    const config = smallConfig()
    const weightsPath = writeModelDirectory(join(folder, 'model'), config)
    const images = imagesOf(config, 6)
    const start = (visionCache: number) =>
      createCpuRuntime({ weightsPath, config, precision, cache: folder, threads: 1, visionCache })
    const runtimes = { none: await start(0), large: await start(16), small: await start(2) }
    t.teardown(() => Promise.all(Object.values(runtimes).map(runtime => runtime.close())))
    for (const [index, batch] of BATCHES.entries()) {
      const count = batch.flat().filter(image => image !== null).length
      const plain = await infer(runtimes.none, batch, images)
      t.match(plain, { encoded: count, reused: 0 }, `batch ${index}: all are encoded`)
      const large = await infer(runtimes.large, batch, images)
      t.match(large, { encoded: 0, reused: count }, `batch ${index}: the second look encodes nothing`)
      const small = await infer(runtimes.small, batch, images)
      t.equal(small.encoded! + small.reused!, count, `batch ${index}: no image is lost`)
      for (const [kind, cached] of Object.entries({ large, small })) {
        t.ok(sameBits(cached.imageEmbeddings, plain.imageEmbeddings), `batch ${index}, ${kind}: embeddings`)
        t.ok(sameBits(cached.actions, plain.actions), `batch ${index}, ${kind}: actions`)
      }
    }
  })

t.test('an image’s embeddings do not depend on the images beside it', async t => {
  const { config, weightsPath } = readModelDirectory(join(golden, 'model_pi05_tiny'))
  const images = imagesOf(config, 4)
  for (const precision of ['fp32', 'int8'] as const) {
    const runtime = await createCpuRuntime({
      weightsPath,
      config: { ...config, cameraSlots: images.map((_, i) => `camera_${i}`) },
      precision,
      cache: t.testdir(),
    })
    t.teardown(() => runtime.close())
    const noise = new Float32Array(config.actionHorizon * config.actionDim)
    const embed = async (shown: (image: Uint8Array, index: number) => boolean) => {
      const row = { images: images.map((v, i) => (shown(v, i) ? v : null)), tokens: Int32Array.of(2) }
      return (await runtime.trace([row], [{ steps: 1, noise }])).imageEmbeddings
    }
    const together = await embed(() => true)
    const size = together.length / images.length
    for (const index of images.keys()) {
      const alone = await embed((_, i) => i === index)
      t.ok(
        sameBits(alone, together.subarray(index * size, (index + 1) * size)),
        `${precision}, image ${index}`,
      )
    }
  }
})
