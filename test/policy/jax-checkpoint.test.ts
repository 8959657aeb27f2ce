import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { exportModel } from '../../src/families/lowered-model.js'
import { openTensors } from '../../src/families/pi0/open-tensors.js'
import { checkPolicy, loadPolicy } from '../../src/policy/loading/load.js'
import type { PolicyOptions } from '../../src/policy/loading/openpi.js'
import { Safetensors, writeSafetensors } from '../../src/storage/safetensors.js'
import { bundled, editTensors, openpiCheckpoint, scratch } from '../support/checkpoint.js'
import { damagedCopy, orbax, recipes, writeJaxCheckpoint } from '../support/orbax.js'
import { refused } from '../support/refused.js'

const LIBERO = { config: 'pi05_libero' }
const POLICY = 'POLICY_INVALID'
const CHECKPOINT = 'CHECKPOINT_INVALID'

/** The bundled weights as the JAX checkpoint that they would have been converted from, with statistics and tokenizer. */
function jaxCheckpoint(t: Test): string {
  const directory = scratch(t)
  writeJaxCheckpoint(directory, join(bundled, 'model.safetensors'))
  for (const name of ['tokenizer.model', 'assets'])
    cpSync(join(bundled, name), join(directory, name), { recursive: true })
  return directory
}

const detailOf = (directory: string, options: PolicyOptions, check: string) =>
  checkPolicy(directory, options).find(({ name }) => name === check)?.detail

async function weightsOf(t: Test, directory: string, options: PolicyOptions): Promise<Buffer> {
  const policy = await loadPolicy(directory, options)
  await policy.close()
  const { model: config, weightsPath, adapterPath } = policy
  const output = scratch(t)
  await exportModel({ weightsPath, adapterPath, config, precision: 'fp32' }, output)
  return readFileSync(join(output, 'weights.bin'))
}

t.test('a JAX checkpoint needs the name of its config alone, and is served as its conversion', async t => {
  const directory = jaxCheckpoint(t)
  const results = checkPolicy(directory, { ...LIBERO, deep: true })
  t.same(
    results.filter(({ status }) => status !== 'ok'),
    [],
  )
  t.match(detailOf(directory, LIBERO, 'weights'), /111 tensors \(F32\) of a JAX checkpoint: .*params$/)
  const converted = openpiCheckpoint(t)
  t.ok((await weightsOf(t, directory, LIBERO)).equals(await weightsOf(t, converted, LIBERO)))
  await refused(
    t,
    directory,
    { config: 'pi0_libero' },
    ['model type and horizon'],
    POLICY,
    /weights are those of a pi05 model/,
  )
  await refused(t, directory, {}, 'config', POLICY, /name its openpi config/)

  writeFileSync(
    join(directory, 'policy.json'),
    JSON.stringify({
      format: 'turbo-pi.policy/1',
      name: 'own',
      embodiment: 'libero',
      normStats: 'assets/physical-intelligence/libero/norm_stats.json',
    }),
  )
  await refused(
    t,
    directory,
    {},
    'model type and horizon',
    POLICY,
    /nothing there says how many rows .*"actionHorizon"/,
  )
})

t.test('damage and parts of a JAX checkpoint are refused with the way forward', async t => {
  const directory = jaxCheckpoint(t)
  await t.rejects(loadPolicy(join(directory, 'params'), LIBERO), {
    code: POLICY,
    message: new RegExp(`inside of a JAX checkpoint, not the whole\\.\nDid you mean ${directory}\\?`),
  })
  renameSync(join(directory, 'params'), join(directory, 'params.orbax-checkpoint-tmp-7'))
  await t.rejects(loadPolicy(directory, LIBERO), {
    code: POLICY,
    message: /was not saved to its end\.\nTake another step/,
  })

  const recipe = recipes().find(({ name }) => name === 'missing_data_file')!
  const damaged = damagedCopy(scratch(t), recipe)
  t.match(detailOf(damaged, LIBERO, 'weights'), /process_0\/d\/2bed[0-9a-f]+: is missing/)
})

t.test('adapters: what was merged is said; a config that trains them needs them', async t => {
  const low = { config: 'pi0_libero_low_mem_finetune' }
  t.match(detailOf(orbax('pi05_micro_lora_scaled'), LIBERO, 'weights'), /91 tensors \(F32, BF16\)/)
  const directory = scratch(t)
  cpSync(orbax('pi0_micro_f32'), directory, { recursive: true })
  cpSync(join(bundled, 'tokenizer.model'), join(directory, 'tokenizer.model'))
  const stats = join(bundled, 'assets/physical-intelligence/libero/norm_stats.json')
  const adapters = { ...low, normStats: stats }
  t.match(
    detailOf(directory, adapters, 'adapters'),
    /trains LoRA adapters of rank 16 in the prefix, the checkpoint has none/,
  )
  cpSync(orbax('pi0_micro_lora_pg_only/params'), join(directory, 'params'), { recursive: true })
  t.match(detailOf(directory, adapters, 'adapters'), /rank 16 in the prefix, the checkpoint has rank 4/)
  t.match(
    detailOf(directory, { ...adapters, config: 'pi0_libero' }, 'adapters'),
    /LoRA of PaliGemma: rank 4.*scaled by 1, since nothing/,
  )
  const log: string[] = []
  checkPolicy(directory, { ...adapters, config: 'pi0_libero', onNote: note => log.push(note) })
  t.match(
    log,
    [/LoRA of PaliGemma: rank 4, attention scaled by 1, since nothing beside the checkpoint says alpha/],
    'what the server logs',
  )

  const converted = openpiCheckpoint(t)
  rmSync(join(converted, 'config.json'))
  t.match(
    detailOf(converted, low, 'adapters'),
    /converter leaves out of PyTorch weights.*Give the JAX checkpoint/,
  )
})

t.test('a PEFT adapter over an openpi checkpoint is merged into its weights', async t => {
  const directory = openpiCheckpoint(t)
  const adapter = join(scratch(t), 'adapter')
  mkdirSync(adapter)
  const module = 'model.action_in_proj'
  const factor = (letter: string, shape: number[]) => {
    const values = Float32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => Math.sin(i + 1))
    return [
      `base_model.model.${module}.lora_${letter}.weight`,
      { dtype: 'F32' as const, shape, pieces: () => [values] },
    ] as const
  }
  writeSafetensors(
    join(adapter, 'adapter_model.safetensors'),
    new Map([factor('A', [2, 32]), factor('B', [64, 2])]),
  )
  writeFileSync(
    join(adapter, 'adapter_config.json'),
    JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 3, target_modules: '.*' }),
  )
  const options = { ...LIBERO, adapter }
  t.same(
    checkPolicy(directory, options).filter(({ status }) => status !== 'ok'),
    [],
  )
  t.match(detailOf(directory, options, 'adapters'), /^1 tensors changed by .*adapter$/)
  const merged = openpiCheckpoint(t)
  const base = Safetensors.open(join(directory, 'model.safetensors')).float32('action_in_proj.weight')
  editTensors(join(merged, 'model.safetensors'), tensors => {
    const values = Float32Array.from(base, (w, i) => {
      const [row, column] = [Math.floor(i / 32), i % 32]
      const sum = [0, 1].reduce(
        (total, k) =>
          total + Math.fround(Math.sin(row * 2 + k + 1)) * Math.fround(Math.sin(k * 32 + column + 1)),
        0,
      )
      return w + (3 / 2) * sum
    })
    tensors.set('action_in_proj.weight', {
      dtype: 'F32',
      shape: [64, 32],
      bytes: new Uint8Array(values.buffer),
    })
  })
  t.ok((await weightsOf(t, directory, options)).equals(await weightsOf(t, merged, LIBERO)))
  const policy = await loadPolicy(directory, options)
  await policy.close()
  const contents = [policy.adapterPath, undefined].map(path => {
    const store = openTensors(policy.weightsPath, path)
    store.close()
    return store.content()
  })
  t.notSame(contents[0], contents[1], 'the adapter is part of what is served')
  await refused(
    t,
    directory,
    { ...LIBERO, adapter: scratch(t) },
    'weights',
    CHECKPOINT,
    /has no adapter_config\.json/,
  )
})

t.test("train_pytorch.py's folders have no config.json: the sizes are those of the tensors", async t => {
  const directory = openpiCheckpoint(t)
  rmSync(join(directory, 'config.json'))
  t.same(
    checkPolicy(directory, LIBERO).filter(({ status }) => status !== 'ok'),
    [],
  )
  const policy = await loadPolicy(directory, LIBERO)
  await policy.close()
  const { prefix, expert, vision, vocabSize, actionHorizon } = policy.model
  t.match(
    { prefix, expert, vocabSize, actionHorizon },
    {
      prefix: { width: 128, depth: 3, mlpDim: 256, heads: 4, kvHeads: 1, headDim: 32 },
      expert: { width: 64, depth: 3, mlpDim: 128, heads: 4, kvHeads: 1, headDim: 32 },
      vocabSize: 2048,
      actionHorizon: 10,
    },
  )
  t.match(
    vision,
    { width: 64, depth: 2, mlpDim: 128, patch: 14, imageSize: 224, heads: 16 },
    "openpi's one vision tower has 16 heads",
  )
})

t.test('weights that no training leaves', async t => {
  const damaged = async (
    change: (bytes: DataView, name: string) => void,
    options: PolicyOptions,
    message: RegExp,
  ) => {
    const directory = openpiCheckpoint(t)
    editTensors(join(directory, 'model.safetensors'), tensors => {
      for (const [name, { bytes }] of tensors)
        change(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), name)
    })
    await refused(t, directory, { ...LIBERO, ...options }, 'weight values', CHECKPOINT, message)
  }
  const zero = (bytes: DataView, from = 0, to = bytes.byteLength) =>
    new Uint8Array(bytes.buffer, bytes.byteOffset).fill(0, from, to)
  await damaged(bytes => zero(bytes), {}, /is zero in .* in a row/)
  const down = (name: string) => name.endsWith('language_model.layers.1.mlp.down_proj.weight')
  await damaged(
    (bytes, name) => down(name) && zero(bytes),
    {},
    /layers\.1\.mlp\.down_proj\.weight is zero in all 16384 places/,
  )
  await damaged(
    (bytes, name) => down(name) && zero(bytes, 1000, 1000 + bytes.byteLength / 2 + 8),
    { deep: true },
    /layers\.1\.mlp\.down_proj\.weight is zero in 16384 elements in a row up to element 16633: a hole/,
  )
  await damaged(
    (bytes, name) => down(name) && bytes.setFloat32(400, 1e30, true),
    { deep: true },
    /down_proj\.weight holds a value of 65536 or more at element 100/,
  )
  const fine = openpiCheckpoint(t)
  editTensors(join(fine, 'model.safetensors'), tensors => {
    for (const [name, { bytes, shape }] of tensors)
      if (shape.length === 1 || name.includes('norm')) bytes.fill(0)
  })
  t.equal(
    detailOf(fine, { ...LIBERO, deep: true }, 'weight values')?.includes('looked at'),
    true,
    'biases and norms may be zero',
  )
})
