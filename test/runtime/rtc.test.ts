import { join } from 'node:path'
import t from 'tap'
import { command as verify } from '../../src/commands/verify/verify.js'
import type { Continuation } from '../../src/families/pi0/rtc/continuation.js'
import { samplingRows } from '../../src/families/pi0/sampling.js'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import { seededNoise } from '../../src/runtime/noise.js'
import type { PerceiveRow } from '../../src/runtime/runtime.js'
import type { CaseResult } from '../../src/verification/results.js'
import { golden, smallConfig, writeModelDirectory } from '../families/models.js'

t.test("LeRobot's cases of real-time chunking, on both time grids", async t => {
  process.env['TURBO_PI_CACHE'] = t.testdir()
  const lines: string[] = []
  t.intercept(console, 'log', { value: (line: string) => lines.push(line) })
  const code = await verify.run([
    ...['--model', join(golden, 'model_pi05_tiny')],
    ...['--cases', join(golden, 'rtc/cases'), '--json'],
  ])
  const { cases, tolerances } = JSON.parse(lines.join('\n')) as {
    cases: CaseResult[]
    tolerances: Record<string, { max: number }>
  }
  t.equal(code, 0)
  t.match(tolerances, { actions: { max: 5e-5 }, actions_openpi_grid: { max: 5e-5 }, v_guided: { max: 2e-4 } })
  const ran = cases.filter(({ skipped }) => !skipped)
  t.equal(ran.length, 61)
  for (const { name, differences } of ran)
    t.ok(differences['actions'] && differences['actions_openpi_grid'], `${name} was compared on both grids`)
  t.ok(ran.filter(({ differences }) => differences['v_guided']).length > 40)
  t.match(
    cases.filter(({ skipped }) => skipped),
    [{ name: /vjp/, skipped: /guided_vjp.*is not computed/ }],
    'the original algorithm is skipped by name',
  )
})

t.test('an observation that is nowhere to be found is a case that could not be run', async t => {
  process.env['TURBO_PI_CACHE'] = t.testdir()
  const lines: string[] = []
  t.intercept(console, 'log', { value: (line: string) => lines.push(line) })
  const cases = join(golden, 'rtc/cases/pi05_tiny_rtc_trained_d1.safetensors')
  const model = join(golden, 'model_pi05_tiny')
  t.equal(
    await verify.run(['--model', model, '--cases', cases, '--inputs', t.testdir()]),
    0,
    'found in ../../cases',
  )
  t.equal(await verify.run(['--model', model, '--cases', cases, '--tolerance', '1e-12']), 1)
})

const config = smallConfig({ trainedDelay: 4 })
const size = config.actionHorizon * config.actionDim
const image = new Uint8Array(config.vision.imageSize ** 2 * 3).fill(9)
const row: PerceiveRow = { images: [image, null, image], tokens: Int32Array.of(2, 3, 4) }
const guided: Continuation = {
  mode: 'guided',
  previous: seededNoise(7, 6 * config.actionDim),
  inferenceDelay: 2,
  executionHorizon: 8,
  schedule: 'exp',
  maxGuidanceWeight: 5,
}
const trained: Continuation = { mode: 'trained', previous: seededNoise(8, size), inferenceDelay: 3 }

const farthest = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)

t.test('rows of one batch', async t => {
  const cache = t.testdir()
  const weightsPath = writeModelDirectory(join(cache, 'model'), config)
  const runtime = await createCpuRuntime({ weightsPath, config, cache })
  t.teardown(() => runtime.close())
  const noise = seededNoise(1, 3 * size)
  const act = async (continuations: readonly (Continuation | undefined)[], from = noise) => {
    const prefix = await runtime.perceive(continuations.map(() => row))
    const plain = samplingRows(from, continuations.length, 5)
    const sampling = plain.map((one, i) => ({
      ...one,
      ...(continuations[i] && { continuation: continuations[i] }),
    }))
    const { actions } = await runtime.act([prefix], sampling)
    prefix.release()
    return actions
  }
  const rowOf = (actions: Float32Array, index: number) => actions.subarray(index * size, (index + 1) * size)

  const mixed = [undefined, guided, trained]
  const together = await act(mixed)
  const plain = await act([undefined, undefined, undefined])
  t.same(rowOf(together, 0), rowOf(plain, 0), 'a plain row is what it is without the others, bit for bit')
  for (const [i, one] of mixed.entries()) {
    const alone = await act([one], noise.slice(i * size, (i + 1) * size))
    t.ok(farthest(rowOf(together, i), alone) < 1e-5, `row ${i} is what it is alone`)
  }
  for (const i of [1, 2]) t.ok(farthest(rowOf(together, i), rowOf(plain, i)) > 0.1, `row ${i} is continued`)
  const given = trained.inferenceDelay * config.actionDim
  t.same(rowOf(together, 2).subarray(0, given), trained.previous.subarray(0, given), 'given rows stay')

  const untrained = { ...config, trainedDelay: 0 }
  const other = await createCpuRuntime({ weightsPath, config: untrained, cache })
  t.teardown(() => other.close())
  const prefix = await other.perceive([row, row, row])
  const answer = await other.act([prefix], samplingRows(noise, 3, 5))
  t.ok(farthest(answer.actions, plain) < 1e-6, 'without given rows a trained checkpoint is like any other')
})
