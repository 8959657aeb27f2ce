import { join } from 'node:path'
import t from 'tap'
import { readModelDirectory } from '../../../src/families/pi0/model-directory.js'
import { createTensorRtRuntime } from '../../../src/runtime/tensorrt/create.js'
import { compareToGolden, openGoldenCase } from '../../../src/verification/golden-case.js'
import { golden } from '../../families/models.js'
import { OnnxAddon } from '../onnx-addon.js'
import { optionsFor } from './small-model.js'

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
      t.same((await runtime.act([prefix], one.sampling)).actions, trace.actions)
      prefix.release()
      await runtime.close()
      t.equal(addon.openSessions, 0)
    }
  }
})
