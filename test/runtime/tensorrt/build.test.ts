import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { exportModel } from '../../../src/families/lowered-model.js'
import { buildEngines } from '../../../src/runtime/tensorrt/build.js'
import { writeModelDirectory } from '../../families/models.js'
import { OnnxAddon } from '../onnx-addon.js'
import { config } from './small-model.js'

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
