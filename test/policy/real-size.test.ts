import { closeSync, cpSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Checkpoint } from '../../src/families/pi0/checkpoint.js'
import type { ModelConfig } from '../../src/families/pi0/config.js'
import { denoiseGraph } from '../../src/families/pi0/graphs/denoise.js'
import { modulationGraph } from '../../src/families/pi0/graphs/modulation.js'
import { prefixGraph } from '../../src/families/pi0/graphs/prefix.js'
import { visionGraph } from '../../src/families/pi0/graphs/vision.js'
import { expectedTensors } from '../../src/families/pi0/tensors.js'
import { GraphBuilder } from '../../src/onnx/graph.js'
import { Lowering } from '../../src/onnx/lowering.js'
import { WeightsFile } from '../../src/onnx/weights-file.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import type { PolicyOptions } from '../../src/policy/loading/openpi.js'
import { type Dtype, toBfloat16, toFloat16 } from '../../src/storage/dtype.js'
import {
  byteLength,
  editJson,
  golden,
  type Json,
  lerobotCheckpoint,
  PREFIX,
  readJson,
  scratch,
  writeJson,
} from '../support/checkpoint.js'

type ModelType = 'pi05' | 'pi0'
type Shapes = Map<string, readonly number[]>

/** Names and shapes of the released checkpoints, as openpi's converter writes them. */
function releasedTensors(modelType: ModelType): Shapes {
  const { list } = readJson(golden(`checkpoint_tensors_${modelType}.json`)) as {
    list: { name: string; shape: number[] }[]
  }
  return new Map(list.map(({ name, shape }) => [name, shape]))
}

/** First values of a tensor, exact in every dtype and different from tensor to tensor. */
function firstValues(name: string, count: number): Float32Array {
  const sum = [...name].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 251, 7)
  return Float32Array.from({ length: Math.min(8, count) }, (_, i) => ((sum + 5 * i) % 63) / 64)
}

function encode(values: Float32Array, dtype: Dtype): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(values.buffer)
  return new Uint8Array(Uint16Array.from(values, dtype === 'BF16' ? toBfloat16 : toFloat16).buffer)
}

/** A safetensors file of the full size whose tensors are holes but for their first values. `valuesOf` names their source. */
function writeSparse(path: string, shapes: Shapes, dtype: Dtype, valuesOf: (name: string) => string): void {
  const header: Json = { __metadata__: { format: 'pt' } }
  let end = 0
  const starts: [name: string, start: number, count: number][] = []
  for (const [name, shape] of shapes) {
    const start = end
    end += byteLength(dtype, shape)
    header[name] = { dtype, shape, data_offsets: [start, end] }
    starts.push([name, start, byteLength('I8', shape)])
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const file = openSync(path, 'w')
  try {
    writeSync(file, Buffer.concat([length, json]))
    ftruncateSync(file, 8 + json.length + end)
    for (const [name, start, count] of starts)
      writeSync(
        file,
        encode(firstValues(valuesOf(name), count), dtype),
        0,
        undefined,
        8 + json.length + start,
      )
  } finally {
    closeSync(file)
  }
}

const asIs = (name: string) => name
const plain = (name: string) =>
  name
    .replace(/^model\./, '')
    .replace(/vision_tower\.(?!vision_model)/, 'vision_tower.vision_model.')
    .replace('paligemma.model.language_model.embed_tokens', 'paligemma.lm_head')

const HEAD = `${PREFIX}.lm_head.weight`
const EMBEDDING = `${PREFIX}.model.language_model.embed_tokens.weight`

/** The released tensors under LeRobot's names, with both embeddings. */
function lerobotTensors(modelType: ModelType, prefix: string, flat: boolean): Shapes {
  const shapes: Shapes = new Map()
  for (const [name, shape] of releasedTensors(modelType))
    shapes.set(prefix + (flat ? name.replace('vision_tower.vision_model.', 'vision_tower.') : name), shape)
  return shapes.set(prefix + EMBEDDING, shapes.get(prefix + HEAD) as number[])
}

/** A vocabulary of the released size. */
function tokenizerFile(t: Test): string {
  const path = join(scratch(t), 'tokenizer.json')
  const vocab = Object.fromEntries(
    Array.from({ length: 257_152 }, (_, id) => [id === 2 ? '<bos>' : `t${id}`, id]),
  )
  writeJson(path, { model: { type: 'BPE', vocab, merges: [], unk_token: 't3' }, added_tokens: [] })
  return path
}

function openpiDirectory(t: Test, modelType: ModelType, precision: string): string {
  const directory = scratch(t)
  writeJson(join(directory, 'config.json'), {
    action_dim: 32,
    action_horizon: modelType === 'pi05' ? 10 : 50,
    paligemma_variant: 'gemma_2b',
    action_expert_variant: 'gemma_300m',
    precision,
  })
  const assets = join(directory, 'assets/physical-intelligence/libero')
  mkdirSync(assets, { recursive: true })
  cpSync(golden('policies/pi05_libero/norm_stats.json'), join(assets, 'norm_stats.json'))
  return directory
}

function lerobotDirectory(t: Test, modelType: ModelType): string {
  const directory = lerobotCheckpoint(t, modelType === 'pi05' ? 'QUANTILES' : 'MEAN_STD')
  editJson(join(directory, 'config.json'), config => {
    for (const field of ['vision', 'paligemma', 'action_expert', 'vocab_size']) delete config[field]
    Object.assign(config, {
      type: modelType,
      chunk_size: 50,
      paligemma_variant: 'gemma_2b',
      action_expert_variant: 'gemma_300m',
      dtype: 'float32',
    })
  })
  if (modelType === 'pi0')
    editJson(join(directory, 'policy_preprocessor.json'), ({ steps }) => {
      const prompt = (steps as Json[]).find(step => String(step['registry_name']).startsWith('pi05_'))!
      prompt['registry_name'] = 'pi0_new_line_processor'
    })
  return directory
}

const SINGLE = 'model.safetensors'

/** Each accepted layout, written into a directory of its own. */
const LAYOUTS: Record<string, (t: Test, modelType: ModelType) => string> = {
  'openpi, bfloat16': (t, modelType) => {
    const directory = openpiDirectory(t, modelType, 'bfloat16')
    writeSparse(join(directory, SINGLE), releasedTensors(modelType), 'BF16', asIs)
    return directory
  },
  'openpi, float16': (t, modelType) => {
    const directory = openpiDirectory(t, modelType, 'float16')
    writeSparse(join(directory, SINGLE), releasedTensors(modelType), 'F16', asIs)
    return directory
  },
  'openpi, float32 in three shards': (t, modelType) => {
    const directory = openpiDirectory(t, modelType, 'float32')
    const shards: Shapes[] = [new Map(), new Map(), new Map()]
    const weight_map: Json = {}
    for (const [i, [name, shape]] of [...releasedTensors(modelType)].entries()) {
      weight_map[name] = `model-0000${(i % 3) + 1}-of-00003.safetensors`
      shards[i % 3]?.set(name, shape)
    }
    shards.forEach((shard, i) => {
      writeSparse(join(directory, `model-0000${i + 1}-of-00003.safetensors`), shard, 'F32', asIs)
    })
    writeJson(join(directory, 'model.safetensors.index.json'), { weight_map })
    return directory
  },
  'LeRobot hub, float32, openpi names': (t, modelType) => {
    const directory = lerobotDirectory(t, modelType)
    writeSparse(join(directory, SINGLE), releasedTensors(modelType), 'F32', asIs)
    return directory
  },
  'LeRobot, bfloat16, prefixed, flat vision tower, both embeddings': (t, modelType) => {
    const directory = lerobotDirectory(t, modelType)
    // Untied: only the embedding holds what openpi keeps under lm_head.
    const valuesOf = (name: string) => (name.endsWith(HEAD) ? 'untied' : plain(name))
    writeSparse(join(directory, SINGLE), lerobotTensors(modelType, 'model.', true), 'BF16', valuesOf)
    return directory
  },
}

/** The four graphs, with the places of their weights; no weight is read for them. */
function graphsOf(weightsPath: string, config: ModelConfig): Record<string, Uint8Array> {
  const checkpoint = Checkpoint.open(weightsPath, config)
  try {
    const weights = new WeightsFile('weights.bin')
    const lower = new Lowering(checkpoint)
    const builders = {
      vision: visionGraph,
      prefix: prefixGraph,
      modulation: modulationGraph,
      denoise: denoiseGraph,
    }
    return Object.fromEntries(
      Object.entries(builders).map(([name, build]) => {
        const g = new GraphBuilder(name, weights, 'float32')
        build({ g, lower, config, products: {} })
        return [name, g.encode()]
      }),
    )
  } finally {
    checkpoint.close()
  }
}

function firstValuesOf(weightsPath: string, config: ModelConfig): Record<string, number[]> {
  const checkpoint = Checkpoint.open(weightsPath, config)
  try {
    return Object.fromEntries(
      [...expectedTensors(config)].map(([name, shape]) => [
        name,
        [...checkpoint.float32(name, 0, Math.min(8, byteLength('I8', shape)))],
      ]),
    )
  } finally {
    checkpoint.close()
  }
}

for (const modelType of ['pi05', 'pi0'] as const)
  t.test(`${modelType} with the real names and shapes, in every layout`, async t => {
    t.equal(releasedTensors(modelType).size, modelType === 'pi05' ? 812 : 777)
    const tokenizer = tokenizerFile(t)
    let reference: { graphs: Record<string, Uint8Array>; values: Record<string, number[]> } | undefined
    for (const [name, write] of Object.entries(LAYOUTS)) {
      const directory = write(t, modelType)
      const options: PolicyOptions = name.startsWith('openpi')
        ? { tokenizer, config: `${modelType}_libero` }
        : { tokenizer }
      const policy = await loadPolicy(directory, options)
      t.equal(policy.model.modelType, modelType)
      t.equal(policy.model.prefix.width, 2048)
      const graphs = graphsOf(policy.weightsPath, policy.model)
      const values = firstValuesOf(policy.weightsPath, policy.model)
      reference ??= { graphs, values }
      for (const [graph, bytes] of Object.entries(graphs))
        t.ok(Buffer.from(bytes).equals(reference.graphs[graph] as Uint8Array), `${name}: ${graph}`)
      t.same(values, reference.values, `${name}: every tensor is the one that it should be`)
      await policy.close()
    }
    t.ok((reference?.graphs['prefix']?.length ?? 0) > 10_000)
    t.notSame(reference?.values['action_in_proj.weight'], reference?.values['action_out_proj.weight'])
  })
