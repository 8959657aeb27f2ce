import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command as build } from '../../../src/commands/build.js'
import { createRuntime } from '../../../src/runtime/backends.js'
import { loadAddon, probe } from '../../../src/runtime/gpu/addon.js'
import { buildFailure } from '../../../src/runtime/tensorrt/build-failure.js'
import { createTensorRtRuntime } from '../../../src/runtime/tensorrt/create.js'
import { writeModelDirectory } from '../../families/models.js'
import { OnnxAddon } from '../onnx-addon.js'
import { config, optionsFor, quick } from './small-model.js'

t.test('what is missing is said in one paragraph, with the command that mends it', async t => {
  const folder = t.testdir()
  const absent = join(folder, 'turbo_pi.node')
  const none = loadAddon(absent)
  t.match(none, { reason: /native addon is not there/, hint: /npm run build:native/ })
  t.match(await probe(none), { available: false, reason: /not there/ })
  writeFileSync(absent, 'no library')
  t.match(loadAddon(absent), { reason: /could not be loaded/ })

  const old = process.env['TURBO_PI_NATIVE']
  process.env['TURBO_PI_NATIVE'] = absent
  t.teardown(() => {
    if (old === undefined) delete process.env['TURBO_PI_NATIVE']
    else process.env['TURBO_PI_NATIVE'] = old
  })
  const policy = { weightsPath: '/absent', model: config }
  const settings = { precision: 'auto', threads: 1, pipeline: 'auto', maxBatch: 1 } as const
  for (const runtime of ['tensorrt', 'tensorrt_pipelined'] as const)
    await t.rejects(createRuntime(policy, { ...settings, runtime }), {
      code: 'RUNTIME_UNAVAILABLE',
      message:
        /^The TensorRT runtime is not available: .*could not be loaded.* To mend it: .*npm run build:native.*--runtime cpu/,
    })
  const notices: string[] = []
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const cpu = await createRuntime(
    { weightsPath, model: config },
    { ...settings, runtime: 'auto', cacheDir: folder, onNotice: text => notices.push(text) },
  )
  t.equal(cpu.info.backend, 'cpu')
  t.match(notices, [
    /^runtime auto: cpu, since CUDA is not available, TensorRT is not available: the native addon .* could not be loaded/,
  ])
  await cpu.close()

  const found = {
    ...(await new OnnxAddon(config).probe()),
    available: false,
    reason: 'libcuda.so.1: no such file',
    hint: 'install the driver',
  }
  const addon = Object.assign(new OnnxAddon(config), { probe: async () => found })
  await t.rejects(createTensorRtRuntime({ ...optionsFor(weightsPath, folder), addon }), {
    code: 'RUNTIME_UNAVAILABLE',
    message: /libcuda\.so\.1: no such file\. To mend it: install the driver\./,
  })
})

t.test('turbo-pi build has nothing to do for the CPU, and refuses as serve does', async t => {
  await t.rejects(build.run(['--runtime', 'cpu']), { code: 'CONFIG_INVALID', message: /nothing to build/ })
  const old = process.env['TURBO_PI_NATIVE']
  process.env['TURBO_PI_NATIVE'] = join(t.testdir(), 'absent.node')
  t.teardown(() => {
    if (old === undefined) delete process.env['TURBO_PI_NATIVE']
    else process.env['TURBO_PI_NATIVE'] = old
  })
  await t.rejects(build.run([]), { code: 'RUNTIME_UNAVAILABLE', message: /npm run build:native/ })
})

t.test('a TensorRT that is not installed whole is said once, with where its library comes from', async t => {
  const folder = t.testdir()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const addon = new OnnxAddon(config)
  const said =
    'TensorRT could not build vision: IBuilder::buildSerializedNetwork: Error Code 6: API Usage Error (Unable to load library: libnvinfer_builder_resource_sm90.so.10.15.1: libnvinfer_builder_resource_sm90.so.10.15.1: cannot open shared object file: No such file or directory)'
  let builds = 0
  await t.rejects(
    createTensorRtRuntime({
      ...optionsFor(weightsPath, folder),
      addon,
      cases: quick,
      builder: async request => {
        builds += 1
        throw buildFailure(request.graph, said)
      },
    }),
    {
      code: 'RUNTIME_UNAVAILABLE',
      message:
        /^TensorRT is not installed whole: libnvinfer_builder_resource_sm90\.so\.10\.15\.1, .* libnvinfer10 of/,
    },
  )
  t.equal(builds, 1, 'no other setting is tried')
})

t.test('what TensorRT says of a failed build is passed on once, on one line, and bounded', t => {
  const { code, message } = buildFailure(
    'prefix',
    `TensorRT could not build prefix: TensorRT could not build prefix: Error Code 10\n  no implementation for node ${'x'.repeat(2000)}`,
  )
  t.equal(code, 'RUNTIME_FAILED')
  t.match(message, /^TensorRT could not build prefix: Error Code 10 no implementation for node x+…$/)
  t.ok(message.length < 500)
  t.end()
})
