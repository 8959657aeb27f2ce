/**
 * src/runtime/tensorrt and src/runtime/gpu over the real addon: engines of the toy model built in child processes, with progress, a crash and a
 * cancellation, then served. Run by native/test/run.mjs.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type LoweredModel, sealed } from '../../../src/families/lowered-model.js'
import type { ModelConfig } from '../../../src/families/pi0/config.js'
import { loadAddon, type NativeAddon, probe } from '../../../src/runtime/gpu/addon.js'
import { GpuRuntime } from '../../../src/runtime/gpu/gpu-runtime.js'
import { type BuildProgress, buildEngines } from '../../../src/runtime/tensorrt/build.js'
import type { TensorRtStages } from '../../../src/runtime/tensorrt/create.js'

const gemma = { width: 3, depth: 2, mlpDim: 4, heads: 1, kvHeads: 1, headDim: 2 }
const config: ModelConfig = {
  modelType: 'pi05',
  actionDim: 2,
  actionHorizon: 3,
  maxTokenLength: 8,
  vocabSize: 1000,
  cameraSlots: ['one', 'two'],
  vision: { width: 3, depth: 1, heads: 1, mlpDim: 4, patch: 2, imageSize: 4, layerNormEps: 1e-6 },
  prefix: gemma,
  expert: gemma,
  ropeTheta: 10000,
  rmsNormEps: 1e-6,
  timeMinPeriod: 0.004,
  timeMaxPeriod: 4,
  trainedDelay: 0,
  timeGrid: 'openpi',
}
const caches = [0, 1].flatMap(layer =>
  ['keys', 'values'].map(kind => ({ name: `${kind}.${layer}`, shape: ['B', 1, 'P', 2] })),
)
const inputs = {
  vision: [{ name: 'images', shape: ['n', 4, 4, 3] }],
  prefix: [
    { name: 'image_embeddings', shape: ['n', 4, 3] },
    { name: 'tokens', shape: ['t'] },
    { name: 'source', shape: ['B', 'P'] },
    { name: 'lengths', shape: ['B'] },
  ],
  denoise: [
    { name: 'x', shape: ['B', 'H', 2] },
    { name: 'modulation', shape: [5] },
    { name: 'update', shape: ['B', 'H', 3] },
    { name: 'target', shape: ['B', 'H', 2] },
    ...caches,
    { name: 'lengths', shape: ['B'] },
  ],
}
const directory = process.env['TOY_MODEL']!
writeFileSync(
  path.join(directory, 'model.json'),
  sealed({
    key: 'toy',
    graphs: Object.fromEntries(
      Object.entries(inputs).map(([name, list]) => [name, { inputs: list, outputs: [] }]),
    ),
  } as unknown as LoweredModel),
)

const ok = (what: string) => console.log(`ok   ${what}`)
const addon = loadAddon() as NativeAddon
assert.equal((await probe(addon)).available, true)
const output = mkdtempSync(path.join(os.tmpdir(), 'turbo-pi-plans-'))
const options = { addon, config, maxBatch: 2, output }
const at = (optimizationLevel: number) => ({ ...options, setting: { optimizationLevel, flags: '-a=off' } })

process.env['FAKE_TENSORRT_CRASH_ABOVE'] = '3'
await assert.rejects(buildEngines(directory, at(4)), /could not build vision: its process ended with SIGABRT/)
ok('a builder that crashes takes its own process alone')

process.env['FAKE_TENSORRT_TACTIC_MS'] = '100'
const leaving = new AbortController()
const stopped = buildEngines(directory, at(3), () => leaving.abort(), leaving.signal)
await assert.rejects(stopped, { code: 'REQUEST_CANCELLED' })
ok('a build that is called off ends as cancelled')

process.env['FAKE_TENSORRT_TACTIC_MS'] = '1'
const heard: BuildProgress[] = []
const plans = await buildEngines(directory, at(3), progress => heard.push(progress))
assert.deepEqual(heard.at(-1), { part: 'denoise', phase: 'Tactics', done: 10, total: 10 })
await buildEngines(directory, { ...at(3), builder: () => assert.fail('a plan that fits was built again') })
ok('engines are built in child processes, with progress, and found again')

const table = Float32Array.from({ length: 15 }, (_, i) => 0.125 * ((i % 17) - 8))
const info = {
  backend: 'tensorrt',
  device: 'stand-in',
  precision: 'fp32',
  maxBatch: 2,
  lanes: 2,
  prefixSlots: 2,
  joins: false,
  weights: 'toy',
  config,
} as const
const session = await addon.openSession({
  stages: { kind: 'tensorrt', plans } as TensorRtStages,
  lanes: 2,
  slots: 2,
  device: 0,
})
const runtime = new GpuRuntime(
  info,
  'TensorRT',
  session,
  async () => table,
  () => {},
)
const picture = (value: number) =>
  Uint8Array.from({ length: 48 }, (_, i) => (i % 2 ? value >> 8 : value & 255))
const noise = Float32Array.of(0, 1, 2, 3, 4, 5)
const sampling = { steps: 3, noise }
const rows = (number: number) => [
  { images: [picture(number), null], tokens: Int32Array.of(5, 6) },
  { images: [picture(3), picture(number)], tokens: Int32Array.of(number % 1000) },
]
// Per row, the mean of the first features of its valid places: pictures, then tokens.
const means = (number: number) => [(4 * number + 11) / 6, (12 + 4 * number + (number % 1000)) / 9]
const expected = (number: number) =>
  means(number).flatMap(mean => {
    let x = Array.from(noise)
    for (let step = 0; step < 3; step++)
      x = x.map((v, i) => v - (0.5 * v + table[step * 5 + (i % 5)]! + mean / 256) / 3)
    return x
  })
async function frame(number: number) {
  const prefix = await runtime.perceive(rows(number))
  const { actions } = await runtime.act([prefix], [sampling, sampling])
  prefix.release()
  for (const [i, value] of expected(number).entries())
    assert.ok(
      Math.abs(actions[i]! - value) <= 1e-3,
      `frame ${number}, action ${i}: ${actions[i]}, expected ${value}`,
    )
}
const lane = async (first: number) => {
  for (let number = first; number < 400; number += 2) await frame(number)
}
await Promise.all([lane(0), lane(1)])
ok('400 batches of two rows through two slots, each with its own numbers')
const traced = await runtime.trace(rows(9), [sampling, sampling])
assert.equal(traced.keys[0]!.length, 2 * 1 * 9 * 2)
assert.equal(traced.imageEmbeddings.length, 3 * 4 * 3)
assert.ok(expected(9).every((value, i) => Math.abs(value - traced.actions[i]!) <= 1e-3))
await runtime.close()
await assert.rejects(runtime.perceive(rows(1)), { code: 'SHUTTING_DOWN' })
ok('traced, closed, and closed for more')
