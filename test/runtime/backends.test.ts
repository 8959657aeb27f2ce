import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { SETTINGS } from '../../src/config.js'
import { PRECISIONS } from '../../src/onnx/arithmetic.js'
import {
  BACKENDS,
  buildForRuntime,
  createRuntime,
  defaultPrecision,
  RUNTIMES,
} from '../../src/runtime/backends.js'
import { chosenDevices, parsedDevices } from '../../src/runtime/devices.js'
import { smallConfig, writeModelDirectory } from '../families/models.js'

const config = smallConfig()
const settings = { precision: 'auto', threads: 1, pipeline: 'auto', maxBatch: 1 } as const

t.test('every choice of a runtime and of a precision is a row of a table', async t => {
  t.same(RUNTIMES, ['auto', 'cpu', 'cuda', 'tensorrt', 'tensorrt_pipelined'])
  for (const name of RUNTIMES) t.equal(SETTINGS.runtime.parse(name), name)
  t.throws(() => SETTINGS.runtime.parse('tpu'))
  for (const precision of PRECISIONS)
    t.ok(
      BACKENDS.some(({ arithmetics }) => arithmetics.includes(precision)),
      `${precision} runs somewhere`,
    )
  t.same(
    ['cpu', 'cuda', 'tensorrt', 'tensorrt_pipelined'].map(defaultPrecision),
    ['fp32', 'bf16', 'bf16', 'bf16'],
    'what auto stands for',
  )
})

t.test('cards are named by numbers, or all of them', async t => {
  t.equal(SETTINGS.devices.parse('all'), 'all')
  t.equal(SETTINGS.devices.parse('0,3'), '0,3')
  t.same(['all', '2', '0, 1'].map(parsedDevices), ['all', [2], [0, 1]])
  for (const wrong of ['', 'some', '-1', '0,0', '1.5', '0,', 'all,0'])
    t.throws(() => parsedDevices(wrong), { message: /all, or numbers of GPUs/ }, wrong)
  t.same(chosenDevices('all', 3), [0, 1, 2])
  t.same(chosenDevices([2], 3), [2])
  await t.rejects(
    createRuntime({ weightsPath: '/absent', model: config }, { runtime: 'cpu', devices: '0,1' }),
    {
      code: 'CONFIG_INVALID',
      message: /the CPU runtime has no --devices 0,1/,
    },
  )
})

t.test('what a backend cannot do is said before anything is loaded', async t => {
  const absent = { weightsPath: '/absent', model: config }
  await t.rejects(createRuntime(absent, { ...settings, runtime: 'tensorrt', precision: 'int8' }), {
    code: 'CONFIG_INVALID',
    message: /the TensorRT runtime has no int8/,
  })
  await t.rejects(createRuntime(absent, { ...settings, runtime: 'tpu' }), {
    code: 'CONFIG_INVALID',
    message: /--runtime takes auto, cpu, cuda, tensorrt, tensorrt_pipelined, got tpu/,
  })
  await t.rejects(createRuntime(absent, { ...settings, runtime: 'tensorrt_pipelined', pipeline: 'off' }), {
    code: 'CONFIG_INVALID',
    message: /stands for --runtime tensorrt --pipeline on, which contradicts --pipeline off/,
  })
  const load = () => Promise.reject(new Error('loaded'))
  await t.rejects(buildForRuntime(load, { ...settings, runtime: 'cpu' }), {
    code: 'CONFIG_INVALID',
    message: /--runtime cpu has nothing to build; use tensorrt/,
  })
})

t.test('--pipeline alone decides the lanes', async t => {
  const folder = t.testdir()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const sizes = join(folder, 'sizes.json')
  writeFileSync(sizes, JSON.stringify(config))
  process.env['TURBO_PI_NATIVE'] = new URL('../support/onnx-addon-module.ts', import.meta.url).pathname
  process.env['TEST_MODEL'] = sizes
  const lanes = async (runtime: string, pipeline: 'auto' | 'on' | 'off') => {
    const started = await createRuntime(
      { weightsPath, model: config },
      { ...settings, precision: 'fp32', runtime, pipeline, cacheDir: folder },
    )
    await started.close()
    return [started.info.backend, started.info.lanes]
  }
  t.same(await lanes('tensorrt', 'auto'), ['tensorrt', 2])
  t.same(await lanes('tensorrt', 'off'), ['tensorrt', 1])
  t.same(await lanes('tensorrt_pipelined', 'auto'), ['tensorrt', 2])
  t.same(await lanes('auto', 'off'), ['tensorrt', 1])
  t.same(await lanes('cpu', 'auto'), ['cpu', 1])
  t.same(await lanes('cpu', 'on'), ['cpu', 2])
})
