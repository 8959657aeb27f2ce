import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { exportModel } from '../../src/families/lowered-model.js'
import { Checkpoint } from '../../src/families/pi0/checkpoint.js'
import { releasedConfig } from '../../src/families/pi0/config.js'
import { randomCheckpoint } from '../../src/families/pi0/random-weights.js'
import { canonicalName, EMBEDDING, expectedTensors, TIED_EMBEDDING } from '../../src/families/pi0/tensors.js'
import { type Draft, fillDirectory } from '../../src/storage/cache.js'
import { Safetensors, type TensorToWrite, writeSafetensors } from '../../src/storage/safetensors.js'
import { decodeOnnx } from '../support/onnx.js'
import { golden, smallConfig, writeModelDirectory } from './models.js'

/** Rewrites a checkpoint with other names, or with tensors changed, added and left out. */
function rewrite(from: string, to: string, change: (tensors: Map<string, TensorToWrite>) => void): string {
  const store = Safetensors.open(from)
  const tensors = new Map<string, TensorToWrite>()
  for (const [name, { dtype, shape }] of store.tensors) {
    const bytes = store.bytes(name)
    tensors.set(name, { dtype, shape, pieces: () => [bytes] })
  }
  store.close()
  change(tensors)
  writeSafetensors(to, tensors)
  return to
}

const renamed = (rename: (name: string) => string) => (tensors: Map<string, TensorToWrite>) => {
  const all = [...tensors]
  tensors.clear()
  for (const [name, tensor] of all) tensors.set(rename(name), tensor)
}

const zeros = (shape: number[]): TensorToWrite => ({
  dtype: 'F32',
  shape,
  pieces: () => [new Float32Array(shape.reduce((a, b) => a * b, 1))],
})

t.test('the tensors of the released checkpoints', async t => {
  for (const modelType of ['pi05', 'pi0'] as const) {
    const file = JSON.parse(readFileSync(join(golden, `checkpoint_tensors_${modelType}.json`), 'utf8'))
    const listed = new Map<string, number[]>(
      file.list.map((entry: { name: string; shape: number[] }) => [entry.name, entry.shape]),
    )
    const expected = expectedTensors(releasedConfig(modelType))
    let parameters = 0
    for (const [name, shape] of expected) {
      t.same(listed.get(name === EMBEDDING ? TIED_EMBEDDING : name), shape, name)
      parameters += shape.reduce((a, b) => a * b, 1)
    }
    // The final norm of the language model is in the file's count and is not used for actions.
    t.equal(parameters + 2048, file.params_used, `${modelType}: ${parameters} parameters`)
    t.equal(expected.size + 2, listed.size)
  }
})

t.test('layouts of the same checkpoint give the same graphs and weights', async t => {
  const folder = t.testdir()
  const config = smallConfig()
  const original = writeModelDirectory(join(folder, 'model'), config)
  const files = async (weightsPath: string) => {
    const directory = `${weightsPath}.lowered`
    mkdirSync(directory)
    const model = await exportModel({ weightsPath, config, precision: 'fp32' }, directory)
    t.same(
      readdirSync(directory).filter(name => name !== 'model.json'),
      Object.keys(model.files).sort(),
    )
    return Object.fromEntries(
      Object.keys(model.files).map(name => [name, readFileSync(join(directory, name))]),
    )
  }
  const expected = await files(original)
  t.same(Object.keys(expected), [
    'vision.onnx',
    'prefix.onnx',
    'modulation.onnx',
    'denoise.onnx',
    'weights.bin',
  ])
  const layouts: Record<string, (tensors: Map<string, TensorToWrite>) => void> = {
    'model. prefix': renamed(name => `model.${name}`),
    'flattened vision tower': renamed(name => name.replace('vision_tower.vision_model.', 'vision_tower.')),
    'embedding under its own name': renamed(name => (name === TIED_EMBEDDING ? EMBEDDING : name)),
    'both embeddings, the output layer untied': tensors => {
      tensors.set(EMBEDDING, tensors.get(TIED_EMBEDDING)!)
      tensors.set(TIED_EMBEDDING, zeros([config.vocabSize, config.prefix.width]))
    },
    'unused output layer and norm': tensors => {
      tensors.set('paligemma_with_expert.gemma_expert.lm_head.weight', zeros([config.vocabSize, 16]))
      tensors.set('paligemma_with_expert.paligemma.model.language_model.norm.weight', zeros([32]))
    },
    float64: tensors => {
      for (const [name, tensor] of tensors) {
        const [bytes] = tensor.pieces() as Iterable<Uint8Array<ArrayBuffer>>
        tensors.set(name, {
          ...tensor,
          dtype: 'F64',
          pieces: () => [Float64Array.from(new Float32Array(bytes!.buffer))],
        })
      }
    },
  }
  for (const [index, [name, change]] of Object.entries(layouts).entries()) {
    const actual = await files(rewrite(original, join(folder, `${index}.safetensors`), change))
    for (const file of Object.keys(expected)) t.ok(actual[file]!.equals(expected[file]!), `${name}: ${file}`)
  }
})

t.test('a checkpoint that does not fit is refused', async t => {
  const folder = t.testdir()
  const config = smallConfig()
  const original = writeModelDirectory(join(folder, 'model'), config)
  const o = 'paligemma_with_expert.paligemma.model.language_model.layers.1.self_attn.o_proj.weight'
  const faults: [RegExp, (tensors: Map<string, TensorToWrite>) => void][] = [
    [new RegExp(`1 of \\d+ tensors of a pi05 model are missing: ${o}`), tensors => tensors.delete(o)],
    [
      /1 tensors do not belong .*: proprio_history_proj\.weight/,
      tensors => tensors.set('proprio_history_proj.weight', zeros([2, 2])),
    ],
    [
      /o_proj\.weight has shape \[32, 31\], the config asks for \[32, 32\]/,
      tensors => tensors.set(o, zeros([32, 31])),
    ],
    [
      /o_proj\.weight has dtype I32; expected one of F64/,
      tensors => tensors.set(o, { ...tensors.get(o)!, dtype: 'I32' }),
    ],
    [/are the same weight/, tensors => tensors.set(`model.${o}`, tensors.get(o)!)],
    [/missing: .*embed_tokens/, tensors => tensors.delete(TIED_EMBEDDING)],
  ]
  for (const [message, plant] of faults) {
    const path = rewrite(original, join(folder, 'faulty.safetensors'), plant)
    t.throws(() => Checkpoint.open(path, config), { code: 'CHECKPOINT_INVALID', message })
  }
  t.throws(() => Checkpoint.open(original, { ...config, modelType: 'pi0' }), {
    message: /11 of 87 tensors of a pi0 model are missing/,
  })
  t.equal(canonicalName('model.embed'), 'model.embed', 'only the known roots lose their prefix')
})

/** Every operator that the graphs may use; each is in the standard set since opset 20 or earlier. */
const OPERATORS = new Set(
  `Add And Cast Concat Cos Gather Gelu Identity LayerNormalization Less MatMul Mul Range Reciprocal ReduceSumSquare
   Reshape Shape Sigmoid Sin Softmax Split Sqrt Squeeze Sub Transpose Unsqueeze Where`.split(/\s+/),
)

t.test('graphs use standard operators, and pack projections that read the same input', async t => {
  for (const modelType of ['pi05', 'pi0'] as const) {
    const folder = t.testdir({ model: {}, lowered: {} })
    const config = smallConfig({ modelType })
    const weightsPath = writeModelDirectory(join(folder, 'model'), config)
    const directory = join(folder, 'lowered')
    for (const precision of ['fp32', 'fp16', 'bf16'] as const) {
      await exportModel({ weightsPath, config, precision }, directory)
      for (const graph of ['vision', 'prefix', 'modulation', 'denoise']) {
        const { nodes, opsets } = decodeOnnx(readFileSync(join(directory, `${graph}.onnx`)))
        t.same(opsets, [{ domain: '', version: 21 }])
        const unknown = nodes.filter(node => node.domain || !OPERATORS.has(node.operator))
        t.same(unknown, [], `${modelType} ${precision} ${graph}: standard operators`)
        t.equal(new Set(nodes.map(node => node.name)).size, nodes.length, 'node names are unique')
        const products = nodes.filter(
          node => node.operator === 'MatMul' && node.inputs[1]!.endsWith('.weight'),
        )
        t.ok(products.length > 0)
        const inputs = products.map(node => node.inputs[0])
        t.equal(new Set(inputs).size, inputs.length, `${graph}: no two weights multiply the same input`)
      }
    }
  }
})

t.test('several processes and one cold cache', async t => {
  const cache = t.testdir({ 'model.1.draft': { 'weights.bin': 'what a killed process has left' } })
  const directory = join(cache, 'model')
  const lock = `${directory}.lock`
  const locked = (pid: number, host = hostname()) => writeFileSync(lock, JSON.stringify({ host, pid }))
  let written = 0
  const write = ({ directory, alive }: Draft) => {
    alive()
    written += 1
    writeFileSync(join(directory, 'file'), '')
  }

  const gone = spawnSync(process.execPath, ['--version']).pid
  locked(gone)
  await fillDirectory(directory, write, () => t.fail('nobody waits for a dead process'))
  t.same(readdirSync(cache), ['model'], 'what it left is removed')
  t.equal(written, 1)

  rmSync(directory, { recursive: true })
  locked(gone, 'elsewhere')
  let polls = 0
  await fillDirectory(directory, write, () => {
    if (++polls === 2) mkdirSync(directory)
  })
  t.equal(written, 1, 'the second waits and finds what the first has written')
  t.ok(existsSync(lock), 'and leaves its lock alone')

  rmSync(directory, { recursive: true })
  const giveUp = new Error('the caller went away')
  const failing = fillDirectory(directory, write, () => {
    throw giveUp
  })
  await t.rejects(failing, { cause: giveUp })
  utimesSync(lock, 1, 1)
  await fillDirectory(directory, write, () => t.fail('a lock that nobody touches is broken'))
  t.equal(written, 2)
  t.same(readdirSync(cache), ['model'])
})

t.test('random checkpoints are written into the cache once', async t => {
  const cache = t.testdir()
  const config = smallConfig()
  let bytes = 0
  const path = await randomCheckpoint(config, cache, {
    seed: 3,
    onProgress: (done, total) => {
      bytes = done
      t.ok(done <= total)
    },
  })
  t.equal(path, join(cache, 'random', 'pi05-3', 'model.safetensors'))
  t.match(JSON.parse(readFileSync(join(cache, 'random', 'pi05-3', 'config.json'), 'utf8')), {
    action_dim: 32,
    paligemma_variant: 'gemma_2b',
  })
  Checkpoint.open(path, config).close()
  const store = Safetensors.open(path)
  const values = [...store.tensors.values()]
  t.equal(
    bytes,
    values.reduce((sum, { byteLength }) => sum + byteLength, 0),
    'progress ends with the last byte',
  )
  t.ok(values.every(({ dtype }) => dtype === 'BF16'))
  store.close()
  const again = await randomCheckpoint(config, cache, { seed: 3, onProgress: () => t.fail('written twice') })
  t.equal(again, path)
  const other = await randomCheckpoint(config, cache, { seed: 4 })
  t.notOk(readFileSync(other).equals(readFileSync(path)), 'another seed, other weights')
})
