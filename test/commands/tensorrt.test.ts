import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command as bench } from '../../src/commands/bench/bench.js'
import { command as build } from '../../src/commands/build.js'
import { bundledPolicy } from '../../src/commands/kit/configured-policy.js'
import { command as verify } from '../../src/commands/verify/verify.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { createRuntime } from '../../src/runtime/backends.js'

const policy = bundledPolicy()
const { config, weightsPath } = readModelDirectory(policy)
const settings = { precision: 'auto', threads: 1, pipeline: 'auto', maxBatch: 1 } as const

const printed: string[] = []
t.intercept(console, 'log', { value: (text: string) => printed.push(text) })
t.beforeEach(t => {
  process.env['TURBO_PI_CACHE'] = t.testdir()
  printed.length = 0
})

t.test('without TensorRT: refused at once, with what mends it', async t => {
  process.env['TURBO_PI_NATIVE'] = join(t.testdir(), 'turbo_pi.node')
  const unavailable = {
    code: 'RUNTIME_UNAVAILABLE',
    message: /^The TensorRT runtime is not available: the native addon is not there .* npm run build:native/,
  }
  await t.rejects(build.run([]), unavailable)
  await t.rejects(build.run(['--runtime', 'cpu']), {
    code: 'CONFIG_INVALID',
    message: /nothing to build; use tensorrt/,
  })
  await t.rejects(bench.run(['--runtime', 'tensorrt']), unavailable)
  for (const runtime of ['tensorrt', 'tensorrt_pipelined'])
    await t.rejects(verify.run(['--policy', policy, '--runtime', runtime]), unavailable)
  t.same(printed, [])

  const runtime = await createRuntime({ weightsPath, model: config }, { ...settings, runtime: 'auto' })
  t.match(runtime.info, {
    backend: 'cpu',
    precision: 'fp32',
    chosen: 'CUDA is not available, TensorRT is not available',
  })
  await runtime.close()
})

t.test('with an engine builder: build, gate, verify, bench', async t => {
  const sizes = join(t.testdir(), 'config.json')
  process.env['TURBO_PI_NATIVE'] = new URL('../support/onnx-addon-module.ts', import.meta.url).pathname
  process.env['TEST_MODEL'] = sizes
  writeFileSync(sizes, JSON.stringify(config))
  const common = ['--policy', policy, '--precision', 'fp32']
  t.equal(await build.run([...common, '--max-batch', '1']), 0)
  const text = printed.splice(0).join('\n')
  t.match(text, /^building the vision engine$/m)
  t.match(text, /optimization level 3: agrees with the CPU runtime, largest error \d.*, 99 % within \d/)
  t.match(text, /engines ready: fp32, up to 1 observations a call, Test GPU, TensorRT 10.13.3.9/)

  t.equal(await build.run([...common, '--max-batch', '1']), 0)
  const again = printed.splice(0).join('\n')
  t.notMatch(again, /building/, 'what passed is kept')
  t.match(again, /optimization level 3: agreed with the CPU runtime when built, largest error/)

  t.equal(
    await verify.run([...common, '--runtime', 'tensorrt', '--steps', '2', '--count', '2', '--max', '5e-5']),
    0,
  )
  t.match(printed.splice(0).join('\n'), /tensorrt fp32, Test GPU/)

  t.equal(
    await bench.run([
      ...common,
      '--max-batch',
      '1',
      '--runtime',
      'tensorrt',
      '--rounds',
      '2',
      '--steps',
      '1,3',
    ]),
    0,
  )
  const table = printed.splice(0).join('\n')
  t.match(table, /tensorrt fp32, 2 rounds/)
  t.match(table, /\| steps \|.* denoise step \| +total \| +Hz \| pipelined engine \| +Hz \|/)
  t.match(table, /\n\| +3 \| ( *\d+\.\d\d \(\d+\.\d\d\) \| ){6} *\d+\.\d \| +\d+\.\d\d \| +\d+\.\d \|/)

  const alone = ['--runtime', 'tensorrt', '--pipeline', 'off', '--rounds', '1', '--steps', '1', '--json']
  t.equal(await bench.run([...common, '--max-batch', '1', ...alone]), 0)
  t.notMatch(printed.at(-1), /pipelinedMs/, 'one lane was asked for')
  await t.rejects(bench.run(['--runtime', 'tensorrt_pipelined', '--pipeline', 'off']), {
    code: 'CONFIG_INVALID',
    message: /stands for --runtime tensorrt --pipeline on, which contradicts --pipeline off/,
  })

  const notices: string[] = []
  const automatic = await createRuntime(
    { weightsPath, model: config },
    { ...settings, precision: 'fp32', runtime: 'auto', onNotice: text => notices.push(text) },
  )
  t.match(automatic.info, {
    backend: 'tensorrt',
    lanes: 2,
    chosen: 'CUDA is not available, TensorRT 10.13.3.9 is there, on Test GPU',
  })
  t.match(notices[0], /^runtime auto: tensorrt, since CUDA is not available, TensorRT 10.13.3.9/)
  await automatic.close()
  const reduced = await createRuntime(
    { weightsPath, model: config },
    { ...settings, precision: 'int8', runtime: 'auto' },
  )
  t.match(reduced.info, { backend: 'cpu', precision: 'int8', chosen: 'the TensorRT runtime has no int8' })
  await reduced.close()
})

t.test('bench on the CPU, as JSON', async t => {
  t.equal(await bench.run(['--runtime', 'cpu', '--rounds', '2', '--steps', '2', '--json']), 0)
  t.match(JSON.parse(printed.at(-1)!), {
    policy: 'tabletop',
    backend: 'cpu',
    rounds: 2,
    measured: [{ steps: 2, stages: { 'denoise step': { p50: Number }, total: { p99: Number } } }],
  })
  t.notMatch(printed.at(-1), /pipelinedMs/, 'one lane')
  for (const steps of ['0', '51', '1,x', ''])
    await t.rejects(bench.run(['--steps', steps]), {
      code: 'CONFIG_INVALID',
      message: /--steps takes an integer from 1 to 50/,
    })
})
