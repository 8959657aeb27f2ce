import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseModelConfig } from '../../src/families/pi0/config.js'
import { readPostprocessor, readPreprocessor } from '../../src/policy/loading/lerobot-processors.js'
import { checkPolicy } from '../../src/policy/loading/load.js'
import { readManifest } from '../../src/policy/loading/manifest.js'
import { readNormStats } from '../../src/policy/norm-stats.js'
import { loadTokenizer } from '../../src/policy/tokenizer/load.js'
import { readJson } from '../../src/storage/json-file.js'
import { memoryBlob } from '../../src/storage/orbax/blob.js'
import { OrbaxCheckpoint } from '../../src/storage/orbax/checkpoint.js'
import { crc32c } from '../../src/storage/orbax/crc32c.js'
import { decodeZstd } from '../../src/storage/orbax/zstd.js'
import { Safetensors } from '../../src/storage/safetensors.js'
import { orbax } from '../support/orbax.js'
import { repositoryPath } from '../support/served-policy.js'
import { mutateBytes } from './mutate-bytes.js'
import { mutateTree } from './mutate-tree.js'
import type { Random } from './random.js'
import { jsonBytes, mutateJson, type Target } from './target.js'

const folder = mkdtempSync(join(tmpdir(), 'turbo-pi-fuzz-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const policy = (file: string) => repositoryPath(join('policies/tiny-libero', file))

/** A reader of one file that lies by itself. */
function alone(
  name: string,
  file: string,
  seeds: Target['seeds'],
  read: (path: string) => unknown,
  mutate = mutateJson,
): Target {
  const path = join(folder, `${name}-${file}`)
  return {
    name,
    kind: 'file',
    seeds,
    mutate,
    read: input => {
      writeFileSync(path, input)
      return read(path)
    },
  }
}

/** A reader of a folder of which one file is changed. */
function inFolder(
  name: string,
  from: string,
  file: string,
  read: (directory: string) => unknown,
  mutate: Target['mutate'] = mutateJson,
): Target {
  let directory: string | undefined
  return {
    name,
    kind: 'file',
    seeds: () => [readFileSync(join(from, file))],
    mutate,
    read: input => {
      if (!directory) cpSync(from, (directory = join(folder, name)), { recursive: true })
      writeFileSync(join(directory, file), input)
      return read(directory)
    },
  }
}

/** Changes the header, whose length comes first, or bytes. */
function mutateSafetensors(input: Buffer, other: Buffer, random: Random): Buffer {
  try {
    if (random.chance(0.3)) throw new Error('bytes')
    const length = Number(input.readBigUInt64LE(0))
    const header = jsonBytes(mutateTree(JSON.parse(input.toString('utf8', 8, 8 + length)), random))
    const size = Buffer.alloc(8)
    size.writeBigUInt64LE(BigInt(header.length))
    return Buffer.concat([size, header, input.subarray(8 + length)])
  } catch {
    return mutateBytes(input, other, random)
  }
}

function safetensors(): Buffer {
  const header = jsonBytes({
    __metadata__: { format: 'pt' },
    a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
    b: { dtype: 'BF16', shape: [3], data_offsets: [16, 22] },
    c: { dtype: 'I64', shape: [], data_offsets: [22, 30] },
  })
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([size, header, Buffer.alloc(30, 1)])
}

function readAll(store: {
  tensors: ReadonlyMap<string, { shape: readonly number[] }>
  float32(name: string): unknown
  close(): void
}) {
  try {
    for (const [name, { shape }] of store.tensors) {
      if (shape.reduce((product, size) => product * size, 1) < 2 ** 16) store.float32(name)
    }
  } finally {
    store.close()
  }
}

const vocab: Record<string, number> = {
  '<pad>': 0,
  '<eos>': 1,
  '<bos>': 2,
  '<unk>': 3,
  a: 4,
  b: 5,
  ab: 6,
  '▁': 7,
  '▁a': 8,
}
const tokenizer = {
  model: {
    type: 'BPE',
    vocab,
    merges: ['a b', ['▁', 'a']],
    byte_fallback: true,
    fuse_unk: true,
    unk_token: '<unk>',
  },
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      { type: 'Prepend', prepend: '▁' },
    ],
  },
  pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
  added_tokens: [
    { id: 2, content: '<bos>', special: true },
    { id: 9, content: 'pick', special: false },
  ],
}
/** Loads it and has it read a text; a file that passes must give ids that it has. */
function tokenize(path: string) {
  const loaded = loadTokenizer(path)
  const ids = loaded.encode('pick aab ab \u00e9\ud83d\ude00 pick\n')
  if (!ids.every(id => Number.isInteger(id) && id >= 0 && id < loaded.vocabSize))
    throw new Error(`ids ${ids.slice(0, 20)} of a vocabulary of ${loaded.vocabSize}`)
}

/** An OCDBT object behind its envelope: changed where it is packed, and packed again with a checksum that holds. */
function mutateOcdbt(input: Buffer, other: Buffer, random: Random): Buffer {
  try {
    if (random.chance(0.2)) throw new Error('bytes')
    const packed = input.subarray(14, -4)
    const body = input[13] === 1 ? Buffer.from(decodeZstd(memoryBlob('seed', packed), 2 ** 24)) : packed
    const changed = mutateBytes(body, other, random)
    const bytes = Buffer.concat([input.subarray(0, 13), Buffer.of(0), changed, Buffer.alloc(4)])
    bytes.writeBigUInt64LE(BigInt(bytes.length), 4)
    bytes.writeUInt32LE(crc32c(bytes.subarray(0, -4)), bytes.length - 4)
    return bytes
  } catch {
    return mutateBytes(input, other, random)
  }
}

const checkpoint = (name: string) => orbax(`${name}/params`)
const openOrbax = (directory: string) => readAll(OrbaxCheckpoint.open(directory))

/** Readers of what people copy and download. */
export const fileTargets: readonly Target[] = [
  alone(
    'safetensors',
    'model.safetensors',
    () => [safetensors()],
    path => readAll(Safetensors.open(path)),
    mutateSafetensors,
  ),
  alone(
    'safetensors-index',
    'model.safetensors.index.json',
    () => [jsonBytes({ weight_map: { a: 'safetensors-model.safetensors' } })],
    path => Safetensors.open(path).close(),
  ),
  alone('tokenizer-json', 'tokenizer.json', () => [jsonBytes(tokenizer)], tokenize),
  alone(
    'sentencepiece',
    'tokenizer.model',
    () => [readFileSync(policy('tokenizer.model'))],
    tokenize,
    mutateBytes,
  ),
  alone(
    'config',
    'config.json',
    () => [readFileSync(policy('config.json'))],
    path => parseModelConfig(readJson(path, 'CHECKPOINT_INVALID'), path, ['time_mlp_in.weight']),
  ),
  alone('manifest', 'policy.json', () => [readFileSync(policy('policy.json'))], readManifest),
  alone(
    'norm-stats',
    'norm_stats.json',
    () => [readFileSync(policy('assets/physical-intelligence/libero/norm_stats.json'))],
    readNormStats,
  ),
  inFolder('policy', repositoryPath('policies/tiny-libero'), 'policy.json', checkPolicyAt),
  inFolder('policy-config', repositoryPath('policies/tiny-libero'), 'config.json', checkPolicyAt),
  inFolder(
    'preprocessor',
    repositoryPath('test/golden/users/lerobot_constant_joint'),
    'policy_preprocessor.json',
    directory => readPreprocessor(directory, 'pi05'),
  ),
  inFolder(
    'postprocessor',
    repositoryPath('test/golden/users/lerobot_constant_joint'),
    'policy_postprocessor.json',
    readPostprocessor,
  ),
  inFolder('orbax-tree', checkpoint('pi05_micro_f32'), '_METADATA', openOrbax),
  inFolder('orbax-manifest', checkpoint('pi05_micro_f32'), 'manifest.ocdbt', openOrbax, mutateOcdbt),
]

/** The doctor tells of faults and never fails by itself. */
function checkPolicyAt(directory: string) {
  for (const { detail } of checkPolicy(directory, {}))
    if (detail && /is not a function|is not iterable|Cannot (read|destructure)|undefined \(/.test(detail))
      throw new Error(detail)
}
