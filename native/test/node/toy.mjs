/** The toy model (test/toy_model.h) through the addon: its plans, its frames and the actions that must come of them. */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
export const addon = require(process.env.TURBO_PI_NATIVE)
const directory = process.env.TOY_MODEL
const key = graph => ({ graph, model: 'toy' })
const buckets = [4, 8]
const shape = {
  imageTokens: 4,
  width: 3,
  layers: 2,
  headDim: 2,
  horizon: 3,
  actionDim: 2,
  modulation: 5,
  imageBytes: 48,
}

function ranges(graph) {
  if (graph === 'vision')
    return [[{ tensor: 'images', min: [1, 4, 4, 3], opt: [2, 4, 4, 3], max: [4, 4, 4, 3] }]]
  if (graph === 'prefix')
    return buckets.map(bucket => [
      { tensor: 'image_embeddings', min: [1, 4, 3], opt: [2, 4, 3], max: [4, 4, 3] },
      { tensor: 'tokens', min: [bucket], opt: [bucket], max: [2 * bucket] },
      { tensor: 'source', min: [1, bucket], opt: [1, 8 + bucket], max: [2, 8 + bucket] },
      { tensor: 'lengths', min: [1], opt: [1], max: [2] },
    ])
  const caches = [0, 1].flatMap(layer =>
    ['keys', 'values'].map(kind => ({
      tensor: `${kind}.${layer}`,
      min: [1, 1, 4, 2],
      opt: [1, 1, 16, 2],
      max: [2, 1, 16, 2],
    })),
  )
  return [
    [
      { tensor: 'x', min: [1, 3, 2], opt: [1, 3, 2], max: [2, 3, 2] },
      { tensor: 'update', min: [1, 3, 3], opt: [1, 3, 3], max: [2, 3, 3] },
      { tensor: 'target', min: [1, 3, 2], opt: [1, 3, 2], max: [2, 3, 2] },
      { tensor: 'lengths', min: [1], opt: [1], max: [2] },
      ...caches,
    ],
  ]
}

export const plan = graph => ({ path: `${directory}/${graph}.plan`, key: key(graph) })

export function build(graph, onProgress = () => {}) {
  return addon.buildPlan(
    {
      graph,
      onnxPath: `${directory}/${graph}.onnx`,
      planPath: plan(graph).path,
      key: key(graph),
      profiles: ranges(graph),
      optimizationLevel: 3,
      timingCachePath: `${directory}/timings`,
      device: 0,
    },
    onProgress,
  )
}

export function toyStages() {
  const plans = Object.fromEntries(['vision', 'prefix', 'denoise'].map(graph => [graph, plan(graph)]))
  return { kind: 'tensorrt', plans }
}

export async function openToy(lanes = 2, slots = 2) {
  const session = await addon.openSession({ stages: toyStages(), lanes, slots, device: 0 })
  await session.setModulation({ steps: 3, table: modulation(3) }).promise
  return session
}

function modulation(steps) {
  return Float32Array.from({ length: steps * shape.modulation }, (_, i) => 0.125 * ((i % 17) - 8))
}

/** One frame of 2 cameras and 3 tokens that carries `number` in its pixels. */
export function frame(slot, number) {
  const images = new Uint8Array(2 * shape.imageBytes)
  for (let image = 0; image < 2; image++)
    for (let i = 0; i < shape.imageBytes; i += 2) {
      images[image * shape.imageBytes + i] = (number + image) & 255
      images[image * shape.imageBytes + i + 1] = ((number + image) >> 8) & 255
    }
  return {
    slot,
    batch: 1,
    imageCount: 2,
    prefixLength: 12,
    images,
    tokens: BigInt64Array.of(BigInt(number % 100), 1n, 2n, 0n),
    source: BigInt64Array.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0], BigInt),
    lengths: BigInt64Array.of(11n),
  }
}

export function act(slot, number) {
  const noise = Float32Array.from({ length: 6 }, (_, i) => 0.25 * (((number + i) % 7) - 3))
  const updates = Float32Array.from({ length: 27 }, (_, i) => [1, -1 / 3, 0][i % 3])
  return {
    rows: Int32Array.of(slot, 0),
    batch: 1,
    steps: 3,
    noise,
    updates,
    targets: new Float32Array(6),
    state: new Float32Array(0),
  }
}

/** The actions of frame(number) and act(number), by the toy model's three formulas. */
export function expected(number) {
  const features = [...Array(4).fill(number), ...Array(4).fill(number + 1), number % 100, 1, 2]
  const context = features.reduce((sum, value) => sum + value, 0) / features.length
  const table = modulation(3)
  let x = Array.from(act(0, number).noise)
  for (let step = 0; step < 3; step++)
    x = x.map(
      (value, i) =>
        value - (0.5 * value + table[step * shape.modulation + (i % shape.modulation)] + context / 256) / 3,
    )
  return x
}

export function assertActions(actions, number) {
  const want = expected(number)
  for (let i = 0; i < want.length; i++)
    if (!(Math.abs(actions[i] - want[i]) <= 1e-3))
      throw new Error(`frame ${number}: action ${i} is ${actions[i]}, expected ${want[i]}`)
}
