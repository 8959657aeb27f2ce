import { cpSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command as doctor } from '../../../src/commands/doctor.js'
import { loadPolicy } from '../../../src/policy/loading/load.js'
import type { PolicyOptions } from '../../../src/policy/loading/openpi.js'
import {
  bundled,
  type Json,
  makePi0,
  openpiCheckpoint,
  readJson,
  scratch,
  writeJson,
} from '../../support/checkpoint.js'
import { refused } from '../../support/refused.js'

const POLICY = 'POLICY_INVALID'

t.test('the manifest: digests, unknown fields, contradictions', async t => {
  const directory = scratch(t)
  cpSync(bundled, directory, { recursive: true })
  const manifest = join(directory, 'policy.json')
  const original = readJson(manifest)
  const edited = async (
    change: Json,
    check: string,
    code: string,
    message: RegExp,
    options: PolicyOptions = {},
  ) => {
    writeJson(manifest, { ...original, ...change })
    await refused(t, directory, options, check, code, message)
  }
  await (await loadPolicy(directory)).close()
  await edited({ prompt: 'x' }, 'directory', POLICY, /policy\.json: \/prompt is not a key/)
  await edited({ format: 'turbo-pi.policy/2' }, 'directory', POLICY, /policy\.json: \/format/)
  await edited(
    { digests: { 'config.json': '00' } },
    'digests',
    POLICY,
    /config\.json has SHA-256 .*policy\.json expects 00/,
  )
  await edited(
    { digests: { 'gone.bin': '00' } },
    'digests',
    POLICY,
    /gone\.bin is listed under "digests" and cannot be read/,
  )
  await edited(
    { normalisation: 'zscore' },
    'config',
    POLICY,
    /normalisation is "zscore", but config pi05_libero .* "quantile"/,
  )
  await edited({ paddedPromptState: true }, 'config', POLICY, /for LeRobot checkpoints/)
  await edited({ embodiment: 'missing.json' }, 'config', POLICY, /missing\.json/)
  await edited(
    {},
    'config',
    POLICY,
    /policy\.json is made for config pi05_libero, --config asks for pi05_droid/,
    { config: 'pi05_droid' },
  )
  const { config: _, ...withoutConfig } = original
  writeJson(manifest, withoutConfig)
  await refused(t, directory, {}, 'config', POLICY, /neither "config" nor "embodiment"/)
  writeFileSync(manifest, '{')
  await refused(t, directory, {}, 'directory', POLICY, /policy\.json: /)

  writeJson(manifest, { ...original, digests: {} })
  makePi0(directory)
  await refused(t, directory, {}, 'model type and horizon', POLICY, /pi0 model, but tiny-libero is for pi05/)
  writeJson(manifest, { ...withoutConfig, digests: {}, embodiment: 'libero', discreteState: true })
  await refused(t, directory, {}, 'prompt form', POLICY, /cannot be written into the prompt of a pi0 model/)
})

t.test('the command prints a table, goes on after a failure, and its exit code tells', async t => {
  const lines: string[] = []
  const log = t.intercept(console, 'log', { value: (line: string) => lines.push(line) })
  t.equal(await doctor.run([bundled]), 0)
  t.match(lines.pop(), /tokenizer +ok +2048 tokens.*\n[\s\S]*Nothing wrong was found/)
  const directory = openpiCheckpoint(t)
  rmSync(join(directory, 'tokenizer.model'))
  writeFileSync(join(directory, 'config.json'), '{}')
  t.equal(await doctor.run([directory, '--config', 'pi05_libero']), 1)
  const report = lines.pop() as string
  t.match(report, /config +WRONG .*has no tokenizer/)
  t.match(report, /model config +WRONG .*action_dim/)
  t.match(report, /tensors +skipped/)
  t.match(report, /2 of \d+ checks found something wrong/)
  t.equal(await doctor.run([directory, '--json']), 1)
  t.equal((JSON.parse(lines.pop() as string) as Json)['ok'], false)
  log.restore()
  await t.rejects(doctor.run([]), { code: 'CONFIG_INVALID', message: /doctor takes one directory/ })
  await t.rejects(doctor.run(['--what']), { code: 'CONFIG_INVALID', message: /--what/ })
})
