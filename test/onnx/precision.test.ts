import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import t from 'tap'
import { bundledPolicy } from '../../src/commands/kit/configured-policy.js'
import { Checkpoint } from '../../src/families/pi0/checkpoint.js'
import type { ModelConfig } from '../../src/families/pi0/config.js'
import { denoiseGraph } from '../../src/families/pi0/graphs/denoise.js'
import { prefixGraph } from '../../src/families/pi0/graphs/prefix.js'
import { visionGraph } from '../../src/families/pi0/graphs/vision.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { samplingRows } from '../../src/families/pi0/sampling.js'
import { ARITHMETICS, REDUCED_TOLERANCE } from '../../src/onnx/arithmetic.js'
import { GraphBuilder, type Value } from '../../src/onnx/graph.js'
import { Lowering } from '../../src/onnx/lowering.js'
import { RoundingGraphBuilder } from '../../src/onnx/rounding-graph.js'
import { WeightsFile } from '../../src/onnx/weights-file.js'
import { difference } from '../../src/runtime/agreement/difference.js'
import { judge } from '../../src/runtime/agreement/gate.js'
import { differencesFrom, expectedOf, seededCases } from '../../src/runtime/agreement/seeded-cases.js'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { toBfloat16, toFloat16, toFloat32 } from '../../src/storage/dtype.js'
import { compareToGolden, openGoldenCase } from '../../src/verification/golden-case.js'
import { golden, numbers } from '../families/models.js'

const { max: MAX, mean: MEAN } = REDUCED_TOLERANCE

const round = {
  float16: (value: number) => toFloat32('F16', bytesOf(toFloat16(value)))[0]!,
  bfloat16: (value: number) => toFloat32('BF16', bytesOf(toBfloat16(value)))[0]!,
}
const bytesOf = (bits: number) => new Uint8Array(Uint16Array.of(bits).buffer)

t.test('emulation rounds every result, and ONNX Runtime keeps the rounding', async t => {
  for (const type of ['float16', 'bfloat16'] as const) {
    const narrow = round[type]
    const directory = t.testdir()
    const weights = new WeightsFile('weights.bin')
    const g = new RoundingGraphBuilder('rounding', weights, type)
    const next = numbers(7)
    const matrix = Float32Array.from({ length: 64 }, next)
    const x = g.cast(g.input('x', 'float32', [1, 8]), type)
    const w = g.weight({ name: 'w', type, shape: [8, 8], pieces: () => [matrix] })
    const product = g.matmul(x, w)
    const shifted = g.add(g.multiply(product, g.floats(type, 1 / 3)), x)
    g.output('narrow', shifted, [1, 8])
    g.output('wide', g.sqrt(g.cast(g.multiply(shifted, shifted), 'float32')), [1, 8])
    writeFileSync(join(directory, 'graph.onnx'), g.encode())
    weights.write(join(directory, 'weights.bin'))

    const session = await InferenceSession.create(join(directory, 'graph.onnx'))
    const input = Float32Array.from({ length: 8 }, (_, i) => next() * 10 ** (i % 4))
    const output = await session.run({ x: new Tensor('float32', input, [1, 8]) })
    const expected = Array.from({ length: 8 }, (_, column) => {
      let sum = 0
      for (let i = 0; i < 8; i++) sum += narrow(input[i]!) * narrow(matrix[i * 8 + column]!)
      return narrow(narrow(narrow(sum) * narrow(1 / 3)) + narrow(input[column]!))
    })
    t.same([...(output['narrow']!.data as Float32Array)], expected, `${type}, bit for bit`)
    t.same(
      [...(output['wide']!.data as Float32Array)],
      expected.map(value => Math.fround(Math.sqrt(narrow(value * value)))),
      `${type}: float32 stays float32`,
    )
  }
})

interface Variant {
  name: string
  precision: 'fp16' | 'bf16' | 'fp8'
  emulated: boolean
  /** An error below this on every case would mean that nothing was rounded. */
  floor: number
}
const VARIANTS: Variant[] = [
  { name: 'fp16', precision: 'fp16', emulated: false, floor: 1e-4 },
  { name: 'fp16, emulated', precision: 'fp16', emulated: true, floor: 1e-4 },
  { name: 'bf16, emulated', precision: 'bf16', emulated: true, floor: 1e-3 },
  { name: 'fp8, emulated', precision: 'fp8', emulated: true, floor: 3e-2 },
]
const STEPS = [1, 2, 3, 5, 10]

t.test('golden cases in 16 bits and in 8-bit floats, at every step count', async t => {
  const cache = t.testdir()
  for (const model of ['pi05_tiny', 'pi0_tiny']) {
    const { config, weightsPath } = readModelDirectory(join(golden, `model_${model}`))
    const start = (options: Partial<Variant>) =>
      createCpuRuntime({ weightsPath, config, cache, maxBatch: 2, prefixSlots: 1, ...options })
    const cases = readdirSync(join(golden, 'cases'))
      .filter(name => name.startsWith(`${model}_`))
      .map(name => openGoldenCase(join(golden, 'cases', name), config))
    const wide = await start({})
    const expected = await everyStepCount(wide, cases)
    await wide.close()
    for (const variant of VARIANTS) {
      const runtime = await start(variant)
      const { max: most, mean: average } = ARITHMETICS[variant.precision].tolerance.gate
      let largest = 0
      for (const one of cases) {
        const trace = await runtime.trace(one.rows, samplingRows(one.noise, one.rows.length, one.steps))
        const { actions } = compareToGolden(one, trace, config)
        largest = Math.max(largest, actions!.max)
        const figures = `${variant.name}, ${one.name}: max ${actions!.max}, mean ${actions!.mean}`
        t.ok(actions!.max <= most && actions!.mean <= average, figures)
      }
      t.ok(largest >= variant.floor, `${variant.name}: ${largest} shows that it rounds`)
      const found = await everyStepCount(runtime, cases)
      for (const [i, chunk] of found.entries()) {
        const { max, mean } = difference(chunk, expected[i]!)
        const steps = STEPS[i % STEPS.length]
        t.ok(max <= most && mean <= average, `${variant.name}, ${steps} steps: max ${max}, mean ${mean}`)
      }
      await runtime.close()
    }
    for (const one of cases) one.tensors.close()
  }
})

/** The chunks of every case at every step count. */
async function everyStepCount(runtime: Runtime, cases: readonly ReturnType<typeof openGoldenCase>[]) {
  const chunks: Float32Array[] = []
  for (const { rows, noise } of cases) {
    const prefix = await runtime.perceive(rows)
    for (const steps of STEPS)
      chunks.push((await runtime.act([prefix], samplingRows(noise, rows.length, steps))).actions)
    prefix.release()
  }
  return chunks
}

t.test('the numeric gate passes correct bf16 on a trained policy, forks and all', async t => {
  const { config, weightsPath } = readModelDirectory(bundledPolicy())
  const cache = t.testdir()
  const start = (precision: 'fp32' | 'bf16') =>
    createCpuRuntime({ weightsPath, config, cache, precision, prefixSlots: 1 })
  const cases = Array.from({ length: 12 }, (_, i) => seededCases(config, 2, 108 + i)).flat()
  const wide = await start('fp32')
  const expected = await expectedOf(wide, cases)
  await wide.close()
  const narrow = await start('bf16')
  const differences = await differencesFrom(narrow, expected)
  await narrow.close()
  const perGate = differences.length / 4
  for (const gate of [0, 1, 2, 3]) {
    const result = judge(differences.slice(gate * perGate, (gate + 1) * perGate), REDUCED_TOLERANCE)
    t.ok(result.passed, `99 % within ${result.most}, mean ${result.mean}, largest ${result.max}`)
  }
  t.ok(
    differences.some(({ max, mean }) => max > MAX && mean > MEAN),
    'one observation lies at a fork',
  )
  const shifted = differences.map(one => ({ ...one, mean: one.mean + MEAN }))
  t.notOk(judge(shifted, REDUCED_TOLERANCE).passed, 'a fault shows in every case')
  const notFinite = differences.map((one, i) => (i === 0 ? { ...one, max: Number.NaN } : one))
  t.notOk(judge(notFinite, REDUCED_TOLERANCE).passed, 'a value that is not finite is enough')
})

/** Notes which operators take 16-bit values. */
class WatchingBuilder extends GraphBuilder {
  readonly narrowOperators = new Set<string>()
  readonly narrowSums: string[] = []
  readonly narrowWeights: string[] = []
  readonly wideWeights: string[] = []

  override applyMany(...call: Parameters<GraphBuilder['applyMany']>): Value[] {
    if (call[1].some(({ type }) => type === this.compute)) {
      this.narrowOperators.add(call[0])
      if (call[0] === 'Add') this.narrowSums.push(call[1][1]!.name)
    }
    return super.applyMany(...call)
  }

  override weight(weight: Parameters<GraphBuilder['weight']>[0]): Value {
    const list = weight.type === this.compute ? this.narrowWeights : this.wideWeights
    list.push(weight.name)
    return super.weight(weight)
  }
}

/** Where rounding is harmless: products accumulate in float32, the rest is one operation between products. */
const NARROW = 'Add Cast Concat Gather Gelu MatMul Mul Reshape Split Transpose'.split(' ')

t.test('float32 islands: statistics, RoPE, softmax, residual stream, first and last projections', async t => {
  for (const model of ['pi05_tiny', 'pi0_tiny']) {
    const { config, weightsPath } = readModelDirectory(join(golden, `model_${model}`))
    const checkpoint = Checkpoint.open(weightsPath, config)
    const watch = (build: typeof visionGraph, config: ModelConfig) => {
      const g = new WatchingBuilder('watched', new WeightsFile('weights.bin'), 'bfloat16')
      build({ g, lower: new Lowering(checkpoint), config, products: {} })
      return g
    }
    const graphs = [visionGraph, prefixGraph, denoiseGraph].map(build => watch(build, config))
    checkpoint.close()
    const operators = new Set(graphs.flatMap(g => [...g.narrowOperators]))
    operators.delete('Identity')
    operators.delete('Shape')
    t.same([...operators].sort(), NARROW)
    const sums = graphs.flatMap(g => g.narrowSums)
    t.ok(sums.length > 0)
    t.ok(
      sums.every(name => name.endsWith('.bias') || /MatMul_\d+$/.test(name)),
      'biases and parts of one attention are added, no residual',
    )
    const [vision, prefix, denoise] = graphs as [WatchingBuilder, WatchingBuilder, WatchingBuilder]
    t.match(vision.wideWeights, [/patch_embedding.weight/, /patch_embedding.positions/, /layer_norm1/])
    t.same(prefix.wideWeights, [])
    const ends = denoise.wideWeights.map(name => name.replace(/\.(weight|bias)$/, ''))
    t.ok(ends.includes('action_in_proj') && ends.includes('action_out_proj'))
    t.notOk(ends.some(name => name.includes('layers.')))
    t.ok(denoise.narrowWeights.every(name => name.includes('layers.')))
  }
})
