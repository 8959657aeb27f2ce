import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createTensorRtRuntime } from '../../../src/runtime/tensorrt/create.js'
import { settingsFor } from '../../../src/runtime/tensorrt/settings.js'
import { writeModelDirectory } from '../../families/models.js'
import { OnnxAddon } from '../onnx-addon.js'
import { config, optionsFor, quick } from './small-model.js'

const enginesOf = (folder: string) => readdirSync(join(folder, 'engines'))[0]!

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
