import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { samplingRows } from '../../src/families/pi0/sampling.js'
import { quantise } from '../../src/onnx/quantisation.js'
import { difference } from '../../src/runtime/agreement/difference.js'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import { openGoldenCase } from '../../src/verification/golden-case.js'
import { golden, numbers } from '../families/models.js'
import { plantOutliers } from './outliers.js'

const CASES = {
  pi05_tiny: ['a_2cam_short_10steps', 'b_3cam_long_3steps', 'c_batch2_5steps'],
  pi0_tiny: ['a_2cam_10steps'],
}
const STEPS = 10

t.test('int8 stays near fp32, with and without outlier channels', async t => {
  const folder = t.testdir()
  for (const [model, cases] of Object.entries(CASES)) {
    const plain = join(golden, `model_${model}`)
    const planted = join(folder, model)
    mkdirSync(planted)
    copyFileSync(join(plain, 'config.json'), join(planted, 'config.json'))
    const { config } = readModelDirectory(plain)
    plantOutliers(join(plain, 'model.safetensors'), join(planted, 'model.safetensors'), config)
    const start = (directory: string, precision: 'fp32' | 'int8') =>
      createCpuRuntime({ ...readModelDirectory(directory), precision, cache: folder, threads: 1 })
    const exact = await start(plain, 'fp32')
    const others = {
      'fp32, outliers': await start(planted, 'fp32'),
      int8: await start(plain, 'int8'),
      'int8, outliers': await start(planted, 'int8'),
    }
    t.teardown(() => Promise.all([exact, ...Object.values(others)].map(runtime => runtime.close())))
    for (const name of cases) {
      const { rows, noise, tensors } = openGoldenCase(
        join(golden, `cases/${model}_${name}.safetensors`),
        config,
      )
      const expected = await exact.trace(rows, samplingRows(noise, rows.length, STEPS))
      for (const [kind, runtime] of Object.entries(others)) {
        const { actions } = await runtime.trace(rows, samplingRows(noise, rows.length, STEPS))
        const { max, mean } = difference(actions, expected.actions)
        const [maxLimit, meanLimit] = kind.startsWith('fp32') ? [1e-4, 2e-5] : [0.05, 0.01]
        t.ok(max <= maxLimit && mean <= meanLimit, `${model}_${name}, ${kind}: max ${max}, mean ${mean}`)
        if (kind.startsWith('int8')) t.ok(max > 1e-4, `${model}_${name}, ${kind}: is not float32 in disguise`)
      }
      tensors.close()
    }
  }
})

t.test(
  'quantised weights: every output has the full range, scale moves between channels and weights',
  async t => {
    const [inputs, outputs] = [24, 10]
    const next = numbers(3)
    const original = Float32Array.from({ length: inputs * outputs }, next)
    const sizes = Float32Array.from({ length: inputs }, () => 1.5 + next())
    const { matrix, scales, balance } = quantise(original.slice(), sizes)
    for (let o = 0; o < outputs; o++) {
      let largest = 0
      for (let i = 0; i < inputs; i++) {
        const q = matrix[i * outputs + o]!
        largest = Math.max(largest, Math.abs(q))
        const error = Math.abs(q * scales[o]! * balance[i]! - original[i * outputs + o]!)
        t.ok(error <= 0.501 * scales[o]! * balance[i]!, `weight ${i}, ${o} is rounded to nearest`)
      }
      t.equal(largest, 127)
    }

    // 64 in channel 5 and 32 in output 3: powers of two, so that nothing is rounded otherwise.
    const scaled = original.map((v, at) => {
      const input = Math.floor(at / outputs) === 5 ? 1 / 64 : 1
      return v * input * (at % outputs === 3 ? 32 : 1)
    })
    const again = quantise(
      scaled,
      sizes.map((size, i) => (i === 5 ? size * 64 : size)),
    )
    t.same(again.matrix, matrix, 'the same integers')
    t.same(
      again.balance,
      balance.map((v, i) => (i === 5 ? v / 64 : v)),
      'the channel is made as small as it was',
    )
    t.same(
      again.scales,
      scales.map((v, o) => (o === 3 ? v * 32 : v)),
      'the scale in an output stays there',
    )
    const empty = quantise(new Float32Array(6), Float32Array.of(1, 0, 1))
    t.same(empty.matrix, new Int8Array(6), 'zeros stay zeros')
    t.ok([...empty.scales, ...empty.balance].every(Number.isFinite))
  },
)
