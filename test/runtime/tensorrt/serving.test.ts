import { join } from 'node:path'
import t from 'tap'
import { seededNoise } from '../../../src/runtime/noise.js'
import { createTensorRtRuntime } from '../../../src/runtime/tensorrt/create.js'
import { writeModelDirectory } from '../../families/models.js'
import { OnnxAddon } from '../onnx-addon.js'
import { blind, config, noise, optionsFor, quick, row, sampling } from './small-model.js'

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
  const alone = await runtime.act([one], [sampling])
  t.same(alone.stepMs, [1, 1, 1, 1])
  const both = await runtime.act([two], [sampling, sampling])
  t.ok(
    alone.actions.every((value, i) => Math.abs(value - both.actions[i]!) < 1e-5),
    'a row does not depend on its batch',
  )
  t.same(
    (await runtime.act([one], [{ steps: 4, noise: 8 }])).actions,
    (await runtime.act([one], [{ steps: 4, noise: seededNoise(8, noise.length) }])).actions,
    'a seed is as good as the noise',
  )
  await t.rejects(runtime.act([two], [sampling]), { message: /a batch of 2 rows takes 2 samplings, got 1/ })
  for (const steps of [0, 51, 1.5])
    await t.rejects(runtime.act([one], [{ steps, noise }]), { message: /integer from 1 to 50/ })
  await t.rejects(runtime.perceive([]), { message: /takes 1 to 2 rows, got 0/ })
  one.release()
  one.release()
  await t.rejects(runtime.act([one], [sampling]), { message: /has been released/ })

  const gone = new AbortController()
  gone.abort()
  await t.rejects(runtime.perceive([row], { signal: gone.signal }), { code: 'REQUEST_CANCELLED' })
  const leaving = new AbortController()
  const held = runtime.perceive([row])
  const first = runtime.act([two], [sampling, sampling])
  const late = runtime.act([two], [sampling, sampling], { signal: leaving.signal })
  leaving.abort()
  await t.rejects(late, { code: 'REQUEST_CANCELLED' })
  t.same((await first).actions, both.actions)
  ;(await held).release()

  const other = await createTensorRtRuntime(common)
  t.match(other.info, { backend: 'tensorrt', lanes: 1, prefixSlots: 1 })
  t.equal(addon.built.length, 3, 'plans that fit are not built again')
  const foreign = await other.perceive([row])
  await t.rejects(runtime.act([foreign], [sampling]), { message: /made by another runtime/ })
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
