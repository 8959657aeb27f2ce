import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ModelConfig } from '../../src/families/pi0/config.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { samplingRows } from '../../src/families/pi0/sampling.js'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import type { PerceiveRow } from '../../src/runtime/runtime.js'
import { Safetensors } from '../../src/storage/safetensors.js'
import { compareToGolden, openGoldenCase } from '../../src/verification/golden-case.js'
import { golden, numbers, smallConfig, writeModelDirectory } from '../families/models.js'
import { type ReferenceInput, type ReferenceOutput, referenceInference } from '../families/reference.js'

const EMBEDDING_TOLERANCE = 2e-4
const ACTION_TOLERANCE = 5e-5

t.test('golden cases: every tensor of the official implementation', async t => {
  const cache = t.testdir()
  const cases = {
    pi05_tiny: ['a_2cam_short_10steps', 'b_3cam_long_3steps', 'c_batch2_5steps', 'd_1step'],
    pi0_tiny: ['a_2cam_10steps'],
  }
  for (const [model, names] of Object.entries(cases)) {
    const { config, weightsPath } = readModelDirectory(join(golden, `model_${model}`))
    const runtime = await createCpuRuntime({ weightsPath, config, cache })
    t.teardown(() => runtime.close())
    for (const name of names) {
      const one = openGoldenCase(join(golden, `cases/${model}_${name}.safetensors`), config)
      const trace = await runtime.trace(one.rows, samplingRows(one.noise, one.rows.length, one.steps))
      const differences = compareToGolden(one, trace, config)
      for (const kind of ['image_embed', 'prefix_k', 'prefix_v'])
        if (differences[kind]) t.ok(differences[kind].max <= EMBEDDING_TOLERANCE, `${model}_${name} ${kind}`)
      for (const kind of ['v_t', 'x_t', 'actions'])
        t.ok(differences[kind]!.max <= ACTION_TOLERANCE, `${model}_${name} ${kind}`, { differences })
      if (!name.startsWith('d_')) t.ok(differences['prefix_k'], `${model}_${name} holds prefix tensors`)
      one.tensors.close()
    }
  }
})

interface Scenario {
  name: string
  config: ModelConfig
  steps: number
  /** Per row: which cameras are there, and how many tokens of how many are valid. */
  rows: { cameras: boolean[]; tokens: number; padded: number }[]
}

const all = [true, true, true]
const gemma = smallConfig().prefix
const expert = smallConfig().expert
const scenarios: Scenario[] = [
  {
    name: 'first camera masked, horizon 16, 20 steps',
    config: smallConfig({ actionHorizon: 16 }),
    steps: 20,
    rows: [{ cameras: [false, true, true], tokens: 5, padded: 12 }],
  },
  {
    name: 'batch of mixed masks, horizon 50, two key/value heads, unequal depths and widths',
    config: smallConfig({
      actionHorizon: 50,
      vision: { ...smallConfig().vision, depth: 1, heads: 2, patch: 14 },
      prefix: { ...gemma, width: 40, depth: 4, heads: 6, kvHeads: 2, headDim: 16 },
      expert: { ...expert, width: 24, depth: 4, heads: 6, kvHeads: 2, headDim: 16 },
    }),
    steps: 3,
    rows: [
      { cameras: [true, false, true], tokens: 12, padded: 12 },
      { cameras: [false, false, true], tokens: 1, padded: 12 },
      { cameras: all, tokens: 7, padded: 12 },
    ],
  },
  {
    name: 'one layer, as many key/value heads as heads, no camera at all, other periods and theta',
    config: smallConfig({
      actionDim: 7,
      ropeTheta: 500,
      timeMinPeriod: 0.01,
      timeMaxPeriod: 2,
      rmsNormEps: 1e-3,
      prefix: { ...gemma, depth: 1, heads: 3, kvHeads: 3, headDim: 10 },
      expert: { ...expert, depth: 1, heads: 3, kvHeads: 3, headDim: 10 },
    }),
    steps: 7,
    rows: [{ cameras: [false, false, false], tokens: 4, padded: 9 }],
  },
  {
    name: 'pi0, batch of mixed masks, two key/value heads',
    config: smallConfig({
      modelType: 'pi0',
      actionHorizon: 6,
      prefix: { ...gemma, depth: 3, kvHeads: 2 },
      expert: { ...expert, depth: 3, kvHeads: 2 },
    }),
    steps: 4,
    rows: [
      { cameras: all, tokens: 3, padded: 8 },
      { cameras: [true, false, false], tokens: 8, padded: 8 },
    ],
  },
  {
    name: 'two camera slots',
    config: smallConfig({ cameraSlots: ['front', 'wrist'], actionHorizon: 15 }),
    steps: 2,
    rows: [{ cameras: [true, true], tokens: 6, padded: 6 }],
  },
]

t.test('other sizes: the same as the plain reference', async t => {
  const folder = t.testdir()
  for (const [index, scenario] of scenarios.entries())
    t.test(scenario.name, async t => {
      const { config, steps } = scenario
      const weightsPath = writeModelDirectory(join(folder, `model_${index}`), config, index + 1)
      const store = Safetensors.open(weightsPath)
      const inputs = scenario.rows.map((row, b) => randomInput(row, config, steps, 100 * index + b))
      const expected = inputs.map(input => referenceInference(input, config, name => store.float32(name)))
      store.close()
      const runtime = await createCpuRuntime({ weightsPath, config, cache: folder, lanes: 2, threads: 1 })
      t.teardown(() => runtime.close())
      const noise = Float32Array.from(inputs.flatMap(input => input.noise.flat()))
      const trace = await runtime.trace(inputs.map(toRow), samplingRows(noise, inputs.length, steps))

      const images = expected.flatMap((row, b) => row.imageEmbeddings.filter((_, i) => inputs[b]!.images[i]))
      within(t, 'image_embed', trace.imageEmbeddings, images.flat(), EMBEDDING_TOLERANCE)
      for (const kind of ['keys', 'values'] as const)
        for (let l = 0; l < config.prefix.depth; l++)
          within(
            t,
            `${kind}.${l}`,
            validRows(trace[kind][l]!, expected, config),
            prefixRows(expected, kind, l),
            EMBEDDING_TOLERANCE,
          )
      for (const kind of ['x', 'velocity'] as const)
        for (let k = 0; k < steps; k++)
          within(
            t,
            `${kind}.${k}`,
            trace[kind][k]!,
            expected.flatMap(row => row[kind][k]!),
            ACTION_TOLERANCE,
          )
      within(
        t,
        'actions',
        trace.actions,
        expected.flatMap(row => row.actions),
        ACTION_TOLERANCE,
      )

      const prefix = await runtime.perceive(inputs.map(toRow))
      const served = await runtime.act([prefix], samplingRows(noise, inputs.length, steps))
      t.same(served.actions, trace.actions, 'serving gives the same numbers as tracing')
    })
})

function randomInput(
  row: Scenario['rows'][number],
  config: ModelConfig,
  steps: number,
  seed: number,
): ReferenceInput {
  const next = numbers(seed)
  const pixels = config.vision.imageSize ** 2 * 3
  return {
    images: row.cameras.map(there =>
      there ? Uint8Array.from({ length: pixels }, () => (next() + 1) * 128) : null,
    ),
    tokens: Array.from({ length: row.padded }, () => Math.floor(((next() + 1) / 2) * config.vocabSize)),
    tokenMask: Array.from({ length: row.padded }, (_, i) => i < row.tokens),
    state: Float32Array.from({ length: config.actionDim }, next),
    noise: Array.from({ length: config.actionHorizon }, () =>
      Array.from({ length: config.actionDim }, () => Math.fround(2 * next())),
    ),
    steps,
  }
}

function toRow({ images, tokens, tokenMask, state }: ReferenceInput): PerceiveRow {
  return { images, tokens: Int32Array.from(tokens.filter((_, i) => tokenMask[i])), state }
}

const prefixRows = (expected: ReferenceOutput[], kind: 'keys' | 'values', layer: number) =>
  expected.flatMap(row => row[kind][layer]!.flat())

/** Cuts the rows' padding out of [batch, kvHeads, longest, headDim]. */
function validRows(tensor: Float32Array, expected: ReferenceOutput[], config: ModelConfig): number[] {
  const { kvHeads, headDim } = config.prefix
  const longest = tensor.length / (expected.length * kvHeads * headDim)
  return expected.flatMap((row, b) =>
    row.keys[0]!.flatMap((valid, head) => {
      const from = (b * kvHeads + head) * longest * headDim
      return [...tensor.subarray(from, from + valid.length * headDim)]
    }),
  )
}

function within(
  t: Test,
  name: string,
  actual: ArrayLike<number>,
  expected: Float64Array[],
  tolerance: number,
) {
  const flat = expected.flatMap(row => [...row])
  t.equal(actual.length, flat.length, `${name}: size`)
  const worst = flat.reduce((max, v, i) => Math.max(max, Math.abs(v - actual[i]!)), 0)
  t.ok(worst <= tolerance, `${name}: ${worst} ≤ ${tolerance}`)
}
