import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { DTYPE_BYTES, type Dtype } from '../../src/storage/dtype.js'
import { Safetensors, writeSafetensors } from '../../src/storage/safetensors.js'

export const root = fileURLToPath(new URL('../../', import.meta.url))
/** The bundled policy: small, random, and complete. */
export const bundled = join(root, 'policies', 'tiny-libero')
export const golden = (path: string) => join(root, 'test', 'golden', path)

/** An empty folder for this test. */
export function scratch(t: Pick<Test, 'teardown'>): string {
  const directory = mkdtempSync(join(tmpdir(), 'turbo-pi-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** An openpi checkpoint directory as its converter writes it, with a tokenizer: a copy that a test may damage. */
export function openpiCheckpoint(t: Pick<Test, 'teardown'>): string {
  const directory = scratch(t)
  for (const file of ['model.safetensors', 'config.json', 'tokenizer.model', 'assets'])
    cpSync(join(bundled, file), join(directory, file), { recursive: true })
  return directory
}

export type Json = Record<string, unknown>

export const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Json
export const writeJson = (path: string, value: unknown) => writeFileSync(path, JSON.stringify(value))

export function editJson(path: string, edit: (value: Json) => void): void {
  const value = readJson(path)
  edit(value)
  writeJson(path, value)
}

export interface Tensor {
  dtype: Dtype
  shape: readonly number[]
  bytes: Uint8Array
}

export type Tensors = Map<string, Tensor>

export function readTensors(path: string): Tensors {
  const store = Safetensors.open(path)
  try {
    return new Map(
      [...store.tensors].map(([name, { dtype, shape }]) => [
        name,
        { dtype, shape, bytes: store.bytes(name) },
      ]),
    )
  } finally {
    store.close()
  }
}

export function writeTensors(path: string, tensors: Tensors): void {
  const parts = [...tensors].map(
    ([name, { dtype, shape, bytes }]) => [name, { dtype, shape, pieces: () => [bytes] }] as const,
  )
  writeSafetensors(path, new Map(parts))
}

export function editTensors(path: string, edit: (tensors: Tensors) => void): void {
  const tensors = readTensors(path)
  edit(tensors)
  writeTensors(path, tensors)
}

/** A float32 tensor. */
export const float32 = (values: readonly number[], shape: readonly number[] = [values.length]): Tensor => ({
  dtype: 'F32',
  shape,
  bytes: new Uint8Array(Float32Array.from(values).buffer),
})

/** The same values in 16 bits: bfloat16 by truncation, or float16 for values that it can hold. */
export function narrowed({ shape, bytes }: Tensor, dtype: 'BF16' | 'F16'): Tensor {
  const words = new Uint32Array(bytes.slice().buffer)
  const out = Uint16Array.from(words, word => (dtype === 'BF16' ? word >>> 16 : half(word)))
  return { dtype, shape, bytes: new Uint8Array(out.buffer) }
}

/** float32 bits to float16 bits, small values to zero. */
function half(word: number): number {
  const exponent = ((word >>> 23) & 0xff) - 112
  return exponent <= 0 ? 0 : ((word >>> 16) & 0x8000) | (exponent << 10) | ((word >>> 13) & 0x3ff)
}

export const PREFIX = 'paligemma_with_expert.paligemma'
export const byteLength = (dtype: Dtype, shape: readonly number[]) =>
  shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype])

/** A LeRobot pi05 checkpoint of the bundled weights, as its save_pretrained writes it. */
export function lerobotCheckpoint(
  t: Pick<Test, 'teardown'>,
  mode: 'QUANTILES' | 'MEAN_STD' = 'QUANTILES',
): string {
  const directory = openpiCheckpoint(t)
  const stats = readJson(join(directory, 'assets/physical-intelligence/libero/norm_stats.json'))
  rmSync(join(directory, 'assets'), { recursive: true })
  const { vision, paligemma, action_expert, vocab_size } = readJson(join(directory, 'config.json'))
  writeJson(join(directory, 'config.json'), {
    type: 'pi05',
    n_obs_steps: 1,
    chunk_size: 10,
    n_action_steps: 10,
    max_state_dim: 32,
    max_action_dim: 32,
    num_inference_steps: 5,
    tokenizer_max_length: 200,
    image_resolution: [224, 224],
    empty_cameras: 1,
    normalization_mapping: { VISUAL: 'IDENTITY', STATE: mode, ACTION: mode },
    input_features: {
      'observation.images.image': { type: 'VISUAL', shape: [3, 256, 256] },
      'observation.images.image2': { type: 'VISUAL', shape: [3, 256, 256] },
      'observation.images.empty_camera_0': { type: 'VISUAL', shape: [3, 224, 224] },
      'observation.state': { type: 'STATE', shape: [8] },
    },
    output_features: { action: { type: 'ACTION', shape: [7] } },
    use_relative_actions: false,
    vision,
    paligemma,
    action_expert,
    vocab_size,
  })
  editTensors(join(directory, 'model.safetensors'), tensors => {
    for (const [name, tensor] of [...tensors]) {
      tensors.delete(name)
      tensors.set(`model.${name.replace('vision_tower.vision_model.', 'vision_tower.')}`, tensor)
    }
    const head = tensors.get(`model.${PREFIX}.lm_head.weight`)!
    tensors.set(`model.${PREFIX}.model.language_model.embed_tokens.weight`, head)
    tensors.set(`model.${PREFIX}.lm_head.weight`, { ...head, bytes: head.bytes.map(byte => byte & 0x7f) })
  })
  const flat: Tensors = new Map()
  for (const [feature, key] of [
    ['observation.state', 'state'],
    ['action', 'actions'],
  ] as const)
    for (const [stat, values] of Object.entries((stats['norm_stats'] as Record<string, Json>)[key] as Json))
      flat.set(`${feature}.${stat}`, float32(values as number[]))
  const norm_map = { VISUAL: 'IDENTITY', STATE: mode, ACTION: mode }
  const pipeline = (name: string, steps: [string, Json, string?][]) =>
    writeJson(join(directory, `${name}.json`), {
      name,
      steps: steps.map(([registry_name, config, state_file]) => ({
        registry_name,
        config,
        ...(state_file && { state_file }),
      })),
    })
  const stateFile = (name: string) => {
    writeTensors(join(directory, name), flat)
    return name
  }
  pipeline('policy_preprocessor', [
    ['rename_observations_processor', { rename_map: {} }],
    ['to_batch_processor', {}],
    ['relative_actions_processor', { enabled: false }],
    [
      'normalizer_processor',
      { eps: 1e-8, norm_map, features: { 'observation.state': { type: 'STATE', shape: [8] } } },
      stateFile('policy_preprocessor_step_3_normalizer_processor.safetensors'),
    ],
    ['pi05_prepare_state_tokenizer_processor_step', {}],
    ['tokenizer_processor', { max_length: 200, tokenizer_name: 'google/paligemma-3b-pt-224' }],
    ['device_processor', { device: 'cpu' }],
  ])
  pipeline('policy_postprocessor', [
    [
      'unnormalizer_processor',
      { eps: 1e-8, norm_map },
      stateFile('policy_postprocessor_step_0_unnormalizer_processor.safetensors'),
    ],
    ['absolute_actions_processor', { enabled: false }],
    ['device_processor', { device: 'cpu' }],
  ])
  return directory
}

/** Turns the bundled pi05 weights into a pi0 checkpoint. */
export function makePi0(directory: string): void {
  editTensors(join(directory, 'model.safetensors'), tensors => {
    for (const [name, tensor] of [...tensors]) {
      if (name.startsWith('time_mlp') || name.endsWith('.dense.bias')) tensors.delete(name)
      if (!name.endsWith('.dense.weight')) continue
      tensors.delete(name)
      const width = tensor.shape[1] as number
      tensors.set(name.replace('.dense', ''), float32(Array<number>(width).fill(0)))
    }
    const linear = (name: string, outputs: number, inputs: number) => {
      tensors.set(`${name}.weight`, float32(Array<number>(outputs * inputs).fill(0.01), [outputs, inputs]))
      tensors.set(`${name}.bias`, float32(Array<number>(outputs).fill(0)))
    }
    linear('state_proj', 64, 32)
    linear('action_time_mlp_in', 64, 128)
    linear('action_time_mlp_out', 64, 64)
  })
  editJson(join(directory, 'config.json'), config => {
    delete config['model_type']
  })
}
