import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { exportModel, type ModelSource } from '../../src/families/lowered-model.js'
import { JaxTensors } from '../../src/families/pi0/jax/tensors.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { openTensors } from '../../src/families/pi0/open-tensors.js'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import { toBfloat16 } from '../../src/storage/dtype.js'
import { Safetensors } from '../../src/storage/safetensors.js'
import type { TensorStore } from '../../src/storage/tensor-source.js'
import { verifyGoldenCases } from '../../src/verification/golden-cases.js'
import { editJson, readTensors, scratch, writeTensors } from '../support/checkpoint.js'
import { indexOf, orbax } from '../support/orbax.js'

const CHECKPOINTS = readdirSync(orbax('.')).filter(name => /^pi0(5)?_micro/.test(name))
const LORA = CHECKPOINTS.filter(name => name.includes('lora'))
const PEFT = ['lerobot_lora_default', 'lerobot_lora_wide']
const BASE = orbax('model_pi05_micro')

const sha256 = (view: ArrayBufferView) =>
  createHash('sha256')
    .update(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
    .digest('hex')

/** Largest distance of two stores' numbers, in units in the last place, over the tensors of `expected`. */
function ulps(found: TensorStore, expected: TensorStore): number {
  let most = 0
  for (const name of expected.tensors.keys()) {
    const [a, b] = [found, expected].map(store => new Int32Array(store.float32(name).slice().buffer)) as [
      Int32Array,
      Int32Array,
    ]
    if (a.length !== b.length) return Number.POSITIVE_INFINITY
    for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!))
  }
  return most
}

/** The graphs and weights that a checkpoint is lowered to. */
async function lowered(t: Test, source: Omit<ModelSource, 'precision'>): Promise<Record<string, string>> {
  const directory = scratch(t)
  await exportModel({ ...source, precision: 'fp32' }, directory)
  const files = readdirSync(directory).filter(name => name !== 'model.json')
  return Object.fromEntries(files.map(name => [name, sha256(readFileSync(join(directory, name)))]))
}

/** Largest error of a directory's actions in the golden case of its network. */
async function largestError(t: Test, directory: string, reference: string, adapterPath?: string) {
  const network = directory.includes('pi05') ? 'pi05' : 'pi0'
  const [result] = await verifyGoldenCases({
    model: directory,
    files: [orbax(`cases/${network}_micro_a.safetensors`)],
    kinds: ['actions'],
    reference,
    adapterPath,
    createRuntime: ({ model: config, ...weights }, maxBatch) =>
      createCpuRuntime({ ...weights, config, maxBatch, cache: scratch(t), threads: 1 }),
  })
  return result!.differences['actions']!.max
}

t.test('tensors are those of the official conversion, bit for bit', async t => {
  for (const name of CHECKPOINTS.filter(name => !LORA.includes(name))) {
    const { pytorch_float32: float32, pytorch_bfloat16: bfloat16 } = indexOf(name)
    // The converter was not run on the one whose chunks are absent.
    if (!float32) {
      t.equal(name, 'pi05_micro_absent_chunks')
      continue
    }
    const store = JaxTensors.open(orbax(`${name}/params`))
    const found = Object.fromEntries(
      [...store.tensors].map(([tensor, { shape }]) => [
        tensor,
        { shape, sha256: sha256(store.float32(tensor)) },
      ]),
    )
    t.same(
      found,
      Object.fromEntries(
        Object.entries(float32).map(([tensor, { shape, sha256 }]) => [tensor, { shape, sha256 }]),
      ),
      name,
    )
    for (const [tensor, { sha256: digest }] of Object.entries(bfloat16 ?? {}))
      if (sha256(Uint16Array.from(store.float32(tensor), toBfloat16)) !== digest)
        t.fail(`${name}: ${tensor} in bfloat16`)
    t.same(store.adapters, [], `${name} has no adapters`)
    store.close()
  }
})

t.test('any part of a tensor is that part of the whole', async t => {
  const store = JaxTensors.open(orbax('pi05_micro_lora/params'))
  for (const name of store.tensors.keys()) {
    const whole = store.float32(name)
    const part = store.float32(name, 3, whole.length - 7)
    if (!part.every((value, i) => value === whole[i + 3])) t.fail(name)
  }
  t.equal(store.tensors.size, 91)
  store.close()
})

t.test('graphs and weights are byte for byte those of the converted checkpoint', async t => {
  const { config, weightsPath } = readModelDirectory(BASE)
  const expected = await lowered(t, { config, weightsPath })
  for (const name of [
    'pi05_micro_f32',
    'pi05_micro_2proc',
    'pi05_micro_chunked_zarr3',
    'pi05_micro_plain_zarr',
  ]) {
    const jax = readModelDirectory(orbax(name))
    const { actionHorizon, ...sizes } = config
    t.match(jax.config, sizes, `${name}: sizes from the shapes`)
    t.equal(jax.horizonIsKnown, false)
    t.same(await lowered(t, jax), expected, name)
  }
})

t.test('actions are those of the official implementation', async t => {
  const own = ['pi05_micro_bf16', 'pi05_micro_train_ema', ...LORA.filter(name => name.startsWith('pi05'))]
  for (const name of ['pi05_micro_2proc', ...own]) {
    const reference = own.includes(name) ? `out.actions.${name}` : 'out.actions'
    const error = await largestError(t, orbax(name), reference)
    t.ok(error <= 5e-5, `${name}: ${error}`)
  }
  const pi0 = [
    ['pi0_micro_bf16_plain_zarr', 'out.actions'],
    ['pi0_micro_lora_pg_only', 'out.actions.pi0_micro_lora_pg_only'],
  ] as const
  for (const [name, reference] of pi0) {
    const error = await largestError(t, orbax(name), reference)
    t.ok(error <= 5e-5, `${name}: ${error}`)
  }
  for (const name of PEFT) {
    const error = await largestError(t, BASE, `out.actions.${name}`, orbax(`peft/${name}`))
    t.ok(error <= 5e-5, `${name}: ${error}`)
  }
})

t.test('adapters are merged to the last place but one', async t => {
  for (const name of LORA) {
    const found = JaxTensors.open(orbax(`${name}/params`))
    const expected = Safetensors.open(orbax(`${name}/merged.safetensors`))
    t.ok(ulps(found, expected) <= 1, `${name}: ${found.adapters.join(', ')}`)
    found.close()
    expected.close()
  }
  for (const name of PEFT) {
    for (const base of [join(BASE, 'model.safetensors'), orbax('pi05_micro_f32/params')]) {
      const found = openTensors(base, orbax(`peft/${name}`))
      const expected = Safetensors.open(orbax(`peft/${name}/merged.safetensors`))
      t.ok(ulps(found, expected) <= 1, `${name} over ${base}`)
      found.close()
      expected.close()
    }
  }
})

t.test('alpha and rslora: from the file beside the checkpoint, else scale 1, and said', async t => {
  const folder = scratch(t)
  cpSync(orbax('pi05_micro_lora_scaled'), folder, { recursive: true })
  const params = join(folder, 'params')
  const scales = () => {
    const store = JaxTensors.open(params)
    store.close()
    return store.adapters
  }
  t.match(scales(), [
    /PaliGemma: rank 4 and 3, attention scaled by 2, as .*model_config/,
    /expert: rank 5 and 2, attention scaled by 3\.13/,
  ])
  const made = () => {
    const store = JaxTensors.open(params)
    store.close()
    return store.content().made
  }
  const before = made()
  rmSync(join(folder, 'model_config.json'))
  t.match(scales(), [/attention scaled by 1, since nothing/, /attention scaled by 1, since nothing/])
  t.not(made(), before, 'the scale is part of what is lowered')
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ paligemma_variant: 'gemma_2b_lora' }))
  t.throws(scales, {
    message: /attn\/kv_einsum\/lora_a has rank 4, but .*config\.json says 16|has rank 4, but/,
  })
})

t.test('JAX checkpoints that are none of ours are refused', async t => {
  const edit = (change: (arrays: Record<string, { key_metadata: { key: string }[] }>) => void) => {
    const folder = scratch(t)
    cpSync(orbax('pi05_micro_plain_zarr'), folder, { recursive: true })
    editJson(join(folder, 'params/_METADATA'), json => change(json['tree_metadata'] as never))
    return () => JaxTensors.open(join(folder, 'params'))
  }
  const find = (arrays: object, part: string) => Object.keys(arrays).find(name => name.includes(part))!
  t.throws(
    edit(arrays => delete arrays[find(arrays, "'linear'")]),
    {
      code: 'CHECKPOINT_INVALID',
      message: /1 of 51 parameters of a pi05 model are missing: PaliGemma\/llm\/layers\/mlp\/linear/,
    },
  )
  t.throws(
    edit(arrays => delete arrays[find(arrays, 'time_mlp_in')] && delete arrays[find(arrays, 'time_mlp_in')]),
    {
      message: /parameters of a pi0 model are missing/,
    },
  )
  t.throws(
    edit(arrays => {
      arrays[find(arrays, "'linear'")]!.key_metadata[0]!.key = 'opt_state'
    }),
    {
      message: /_METADATA lists the array opt_state\.PaliGemma.*, which is not stored/,
    },
  )
  const lora = scratch(t)
  cpSync(orbax('pi05_micro_lora'), lora, { recursive: true })
  editJson(join(lora, 'params/_METADATA'), json => {
    const arrays = json['tree_metadata'] as Record<string, unknown>
    delete arrays[find(arrays, 'linear_lora_b')]
  })
  t.throws(() => JaxTensors.open(join(lora, 'params')), { message: /has only .*lora_a of its two adapters/ })
})

t.test('PEFT folders that are no plain LoRA of this base are refused', async t => {
  const folder = (change: { config?: object; tensors?: (tensors: Map<string, never>) => void }) => {
    const directory = join(scratch(t), 'adapter')
    mkdirSync(directory)
    cpSync(orbax('peft/lerobot_lora_wide/adapter_config.json'), join(directory, 'adapter_config.json'))
    editJson(join(directory, 'adapter_config.json'), json => Object.assign(json, change.config))
    const file = orbax('peft/lerobot_lora_wide/adapter_model.safetensors')
    if (change.tensors) {
      const tensors = readTensors(file)
      change.tensors(tensors as never)
      writeTensors(join(directory, 'adapter_model.safetensors'), tensors)
    } else symlinkSync(file, join(directory, 'adapter_model.safetensors'))
    return () => openTensors(join(BASE, 'model.safetensors'), directory).close()
  }
  const first = (tensors: Map<string, never>, part: string) =>
    [...tensors.keys()].find(name => name.includes(part))!
  const mistakes: [Parameters<typeof folder>[0], RegExp][] = [
    [{ config: { use_dora: true } }, /use_dora is true; this server merges plain LoRA alone/],
    [{ config: { peft_type: 'LOHA' } }, /peft_type is "LOHA"/],
    [{ config: { bias: 'all' } }, /bias is "all"/],
    [{ config: { init_lora_weights: 'pissa' } }, /init_lora_weights is "pissa"/],
    [{ config: { r: 6 } }, /has rank 5 in the file, but 6 here/],
    [{ config: { lora_alpha: 'x' } }, /lora_alpha: expected a positive number/],
    [{ config: { rank_pattern: { '(': 3 } } }, /rank_pattern: Invalid regular expression/],
    [{ config: { modules_to_save: [] } }, /action_out_proj.* is no lora_A or lora_B/],
    [
      { config: { modules_to_save: ['action_out_proj', 'state_proj'] } },
      /lists state_proj under modules_to_save/,
    ],
    [
      { tensors: tensors => tensors.delete(first(tensors, 'lora_B')) },
      /there is .*lora_A\.weight, but no .*lora_B/,
    ],
    [
      {
        tensors: tensors => {
          for (const name of [...tensors.keys()].filter(name => name.includes('time_mlp_in'))) {
            tensors.set(name.replace('time_mlp_in', 'time_mlp_between'), tensors.get(name)!)
            tensors.delete(name)
          }
        },
      },
      /is for a tensor that .* does not have; it is an adapter of another model/,
    ],
  ]
  for (const [change, message] of mistakes)
    t.throws(folder(change), { code: 'CHECKPOINT_INVALID', message }, String(message))
  t.throws(() => openTensors(join(BASE, 'model.safetensors'), scratch(t)), {
    message: /has no adapter_config\.json/,
  })
})
