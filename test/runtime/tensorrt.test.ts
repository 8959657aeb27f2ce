import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command as build } from '../../src/commands/build.js'
import { exportModel } from '../../src/families/lowered-model.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { seededCases } from '../../src/runtime/agreement/seeded-cases.js'
import { createRuntime } from '../../src/runtime/backends.js'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import { loadAddon, probe } from '../../src/runtime/gpu/addon.js'
import { cropped, engineBatch } from '../../src/runtime/gpu/batch.js'
import { tokenBuckets } from '../../src/runtime/gpu/token-buckets.js'
import { seededNoise } from '../../src/runtime/noise.js'
import { layOut } from '../../src/runtime/prefix-layout.js'
import type { PerceiveRow } from '../../src/runtime/runtime.js'
import { buildEngines } from '../../src/runtime/tensorrt/build.js'
import { buildFailure } from '../../src/runtime/tensorrt/build-failure.js'
import { createTensorRtRuntime } from '../../src/runtime/tensorrt/create.js'
import { settingsFor } from '../../src/runtime/tensorrt/settings.js'
import { compareToGolden, openGoldenCase } from '../../src/verification/golden-case.js'
import { golden, smallConfig, writeModelDirectory } from '../families/models.js'
import { OnnxAddon } from './onnx-addon.js'

const config = smallConfig()
const image = new Uint8Array(config.vision.imageSize ** 2 * 3).fill(9)
const row: PerceiveRow = { images: [image, null, image], tokens: Int32Array.of(2, 3, 4) }
const blind: PerceiveRow = { images: [null, null, null], tokens: Int32Array.of(7) }
// One short case is enough where the gate itself is not what is tested.
const quick = seededCases(config, 1)
  .slice(1)
  .map(one => ({ ...one, steps: [2] }))
const noise = new Float32Array(config.actionHorizon * config.actionDim).fill(0.5)
const sampling = { steps: 4, noise }

/** What every start here shares. */
const optionsFor = (weightsPath: string, cache: string, shaped = config) => ({
  weightsPath,
  config: shaped,
  cache,
  precision: 'fp32' as const,
  lanes: 1 as const,
  maxBatch: 1,
  reference: (maxBatch: number) =>
    createCpuRuntime({ weightsPath, config: shaped, cache, maxBatch, prefixSlots: 1 }),
})

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

t.test('golden cases through padding, slots and modulation', async t => {
  for (const model of ['pi05_tiny', 'pi0_tiny']) {
    const { config, weightsPath } = readModelDirectory(join(golden, `model_${model}`))
    const cases =
      model === 'pi0_tiny'
        ? ['cases/pi0_tiny_a_2cam_10steps']
        : [
            ...['a_2cam_short_10steps', 'c_batch2_5steps'].map(name => `cases/pi05_tiny_${name}`),
            ...['guided', 'trained'].map(mode => `rtc/cases/pi05_tiny_rtc_${mode}_batch2_rowwise_n5`),
          ]
    for (const path of cases) {
      const one = openGoldenCase(join(golden, `${path}.safetensors`), config)
      t.teardown(() => one.tensors.close())
      const [{ tensor, timeGrid = config.timeGrid }] = one.references
      const shaped = { ...one.config, timeGrid }
      const addon = new OnnxAddon(shaped)
      const runtime = await createTensorRtRuntime({
        ...optionsFor(weightsPath, t.testdir(), shaped),
        maxBatch: one.rows.length,
        addon,
        builder: addon.builder,
        cases: [
          {
            name: one.name,
            rows: one.rows.slice(0, 1),
            runs: [one.sampling.slice(0, 1).map(row => ({ ...row, steps: 2 }))],
          },
        ],
      })
      const trace = await runtime.trace(one.rows, one.sampling)
      for (const [kind, { max }] of Object.entries(compareToGolden(one, trace, shaped, tensor)))
        t.ok(max <= (/^(v_t|x_t|actions)$/.test(kind) ? 5e-5 : 2e-4), `${one.name}: ${kind} ${max}`)
      const prefix = await runtime.perceive(one.rows)
      t.same((await runtime.act(prefix, one.sampling)).actions, trace.actions)
      prefix.release()
      await runtime.close()
      t.equal(addon.openSessions, 0)
    }
  }
})

t.test('serving: slots, refusals, cancellation, close', async t => {
  const folder = t.testdir()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const addon = new OnnxAddon(config)
  const common = {
    ...optionsFor(weightsPath, folder),
    addon,
    builder: addon.builder,
    maxBatch: 2,
    cases: quick,
  }
  const notices: string[] = []
  const runtime = await createTensorRtRuntime({
    ...common,
    lanes: 2,
    onNotice: text => notices.push(text),
  })
  t.match(runtime.info, {
    backend: 'tensorrt',
    lanes: 2,
    prefixSlots: 2,
    device: /Test GPU, TensorRT 10\.13\.3\.9/,
  })
  t.match(notices, [
    /no engine has passed/,
    /^building the vision engine$/,
    /prefix/,
    /denoise/,
    /optimization level 3: agrees/,
  ])
  t.same(addon.built, ['vision@3', 'prefix@3', 'denoise@3'])

  const one = await runtime.perceive([row])
  t.same([one.batch, one.lengths, one.timing], [1, [35], { visionMs: 2, prefixMs: 3 }])
  const two = await runtime.perceive([row, blind])
  await t.rejects(runtime.perceive([row]), {
    code: 'RUNTIME_FAILED',
    message: /all 2 prefix slots are in use/,
  })
  const alone = await runtime.act(one, [sampling])
  t.same(alone.stepMs, [1, 1, 1, 1])
  const both = await runtime.act(two, [sampling, sampling])
  t.ok(
    alone.actions.every((value, i) => Math.abs(value - both.actions[i]!) < 1e-5),
    'a row does not depend on its batch',
  )
  t.same(
    (await runtime.act(one, [{ steps: 4, noise: 8 }])).actions,
    (await runtime.act(one, [{ steps: 4, noise: seededNoise(8, noise.length) }])).actions,
    'a seed is as good as the noise',
  )
  await t.rejects(runtime.act(two, [sampling]), { message: /a prefix of 2 rows takes 2 samplings, got 1/ })
  for (const steps of [0, 51, 1.5])
    await t.rejects(runtime.act(one, [{ steps, noise }]), { message: /integer from 1 to 50/ })
  await t.rejects(runtime.perceive([]), { message: /takes 1 to 2 rows, got 0/ })
  one.release()
  one.release()
  await t.rejects(runtime.act(one, [sampling]), { message: /has been released/ })

  const gone = new AbortController()
  gone.abort()
  await t.rejects(runtime.perceive([row], { signal: gone.signal }), { code: 'REQUEST_CANCELLED' })
  const leaving = new AbortController()
  const held = runtime.perceive([row])
  const first = runtime.act(two, [sampling, sampling])
  const late = runtime.act(two, [sampling, sampling], { signal: leaving.signal })
  leaving.abort()
  await t.rejects(late, { code: 'REQUEST_CANCELLED' })
  t.same((await first).actions, both.actions)
  ;(await held).release()

  const other = await createTensorRtRuntime(common)
  t.match(other.info, { backend: 'tensorrt', lanes: 1, prefixSlots: 1 })
  t.equal(addon.built.length, 3, 'plans that fit are not built again')
  const foreign = await other.perceive([row])
  await t.rejects(runtime.act(foreign, [sampling]), { message: /made by another runtime/ })
  await other.close()
  await runtime.close()
  await t.rejects(runtime.perceive([row]), { code: 'SHUTTING_DOWN' })
  t.equal(addon.openSessions, 0)

  addon.refuseOnce = 'TensorRT refused the plan of vision'
  const refused: string[] = []
  await (await createTensorRtRuntime({ ...common, onNotice: text => refused.push(text) })).close()
  t.match(refused, [
    /agreed with the CPU runtime when built/,
    /could not be opened: TensorRT refused the plan of vision\. They are built again/,
    /building the vision/,
  ])
  t.equal(addon.built.length, 6, 'a plan that TensorRT does not take is built again')

  addon.machine = 'another GPU'
  const again: string[] = []
  await (await createTensorRtRuntime({ ...common, onNotice: text => again.push(text) })).close()
  t.match(again[0], /the vision plan was built for another GPU: one GPU, now another GPU/)
  t.equal(addon.built.length, 9, 'a plan of another machine is built again')
})

t.test('the gate tries settings in turn, and nothing that disagrees is served', async t => {
  const folder = t.testdir()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const addon = new OnnxAddon(config)
  const options = {
    ...optionsFor(weightsPath, folder),
    addon,
    builder: addon.builder,
    cases: quick,
  }
  addon.faults = (request, flags) => (request.optimizationLevel > 2 ? (flags ? Number.NaN : 0.2) : 0)
  const notices: string[] = []
  const runtime = await createTensorRtRuntime({ ...options, onNotice: text => notices.push(text) })
  const verdicts = notices.filter(text => text.startsWith('optimization level'))
  t.match(verdicts, [
    /^optimization level 3: largest error 0\.200/,
    /level 3 with -peep.*: largest error NaN/,
    /level 2: agrees/,
  ])
  await runtime.close()
  const record = JSON.parse(readFileSync(join(folder, 'engines', enginesOf(folder), 'gate.json'), 'utf8'))
  t.match(record, { setting: { optimizationLevel: 2, flags: '' }, result: { passed: true } })

  rmSync(join(folder, 'engines'), { recursive: true })
  addon.faults = () => 0.06
  await t.rejects(createTensorRtRuntime(options), {
    code: 'RUNTIME_UNAVAILABLE',
    message:
      /The TensorRT runtime does not agree with the CPU runtime.*level 3: largest error 0\.06.*level 1 with/,
  })
  t.equal(addon.openSessions, 0)
  const leaving = new AbortController()
  const stopped = createTensorRtRuntime({
    ...options,
    signal: leaving.signal,
    builder: async () => {
      leaving.abort()
      throw Object.assign(new Error('off'), { code: 'REQUEST_CANCELLED' })
    },
  })
  await t.rejects(stopped)
  t.equal(settingsFor('11.0')[0]!.optimizationLevel, 2, 'Thor starts where its known faults are avoided')
  t.ok(settingsFor('11.0').every(setting => setting.flags.includes('fc_h_fusion=off')))
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

const enginesOf = (folder: string) => readdirSync(join(folder, 'engines'))[0]!

t.test('buildEngines keeps plans that fit and tells why others do not', async t => {
  const folder = t.testdir()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const exported = join(folder, 'exported')
  mkdirSync(exported)
  const model = await exportModel({ weightsPath, config, precision: 'fp32' }, exported)
  const addon = new OnnxAddon(config)
  const reasons: string[] = []
  const build = (level: number, maxBatch = 2) =>
    buildEngines(exported, {
      addon,
      config,
      maxBatch,
      output: join(folder, 'plans'),
      setting: { optimizationLevel: level, flags: '' },
      builder: addon.builder,
      onBuild: (engine, reason) => reasons.push(`${engine} ${reason}`),
    })
  const plans = await build(3)
  t.same(
    reasons,
    ['vision undefined', 'prefix undefined', 'denoise undefined'],
    'a first build has no reason',
  )
  await build(3)
  t.equal(addon.built.length, 3)
  t.match(plans.prefix.key, {
    graph: 'prefix',
    model: model.key,
    'builder flags': 'none',
    'optimization level': '3',
  })
  await build(2)
  t.match(reasons.at(-1), 'denoise was built for another optimization level: 3, now 2')
  await build(2, 1)
  t.match(reasons.at(-1), /denoise was built for another shapes/)
  await t.rejects(
    buildEngines(join(folder, 'none'), {
      addon,
      config,
      maxBatch: 1,
      output: folder,
      setting: { optimizationLevel: 3, flags: '' },
    }),
    {
      message: /holds no exported model.*turbo-pi export/,
    },
  )

  // A child process that cannot load the addon says so.
  process.env['TURBO_PI_NATIVE'] = join(folder, 'absent.node')
  t.teardown(() => delete process.env['TURBO_PI_NATIVE'])
  await t.rejects(
    buildEngines(exported, {
      addon,
      config,
      maxBatch: 2,
      output: join(folder, 'other'),
      setting: { optimizationLevel: 3, flags: '-x' },
    }),
    {
      code: 'RUNTIME_FAILED',
      message: /could not build vision: the native addon is not there.*build:native/,
    },
  )
})
