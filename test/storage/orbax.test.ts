import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { memoryBlob } from '../../src/storage/orbax/blob.js'
import { OrbaxCheckpoint } from '../../src/storage/orbax/checkpoint.js'
import { crc32c } from '../../src/storage/orbax/crc32c.js'
import { decodeZstd } from '../../src/storage/orbax/zstd.js'
import { scratch } from '../support/checkpoint.js'
import { damagedCopy, indexOf, orbax, recipes } from '../support/orbax.js'

const CHECKPOINTS = readdirSync(orbax('.')).filter(name => /^pi0(5)?_micro/.test(name))
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const DTYPES: Readonly<Record<string, string>> = { F32: 'float32', BF16: 'bfloat16' }

/** The path that the index has: without `params` and a final `value` of every leaf. */
const bare = (name: string, suffixed: boolean) =>
  name.slice('params/'.length, suffixed ? -'/value'.length : undefined)

const everythingIn = (directory: string) => {
  const store = OrbaxCheckpoint.open(join(directory, 'params'))
  try {
    return new Map([...store.tensors.keys()].map(name => [name, store.bytes(name)]))
  } finally {
    store.close()
  }
}

t.test('every stored checkpoint is read bit for bit', async t => {
  t.equal(CHECKPOINTS.length, 18)
  for (const name of CHECKPOINTS) {
    const store = OrbaxCheckpoint.open(orbax(`${name}/params`))
    const expected = indexOf(name).jax_leaves
    const suffixed = [...store.tensors.keys()].every(leaf => leaf.endsWith('/value'))
    const found = Object.fromEntries(
      [...store.tensors].map(([leaf, { dtype, shape }]) => [
        bare(leaf, suffixed),
        { dtype: DTYPES[dtype], shape, sha256: sha256(store.bytes(leaf)) },
      ]),
    )
    store.close()
    t.same(found, expected, name)
  }
})

t.test('any part of an array is that part of the whole, in any order', async t => {
  let seed = 1
  const random = (below: number) => {
    seed = (seed * 48271) % 2147483647
    return seed % below
  }
  for (const name of ['chunked', 'fsdp4', 'chunked_zarr3', 'plain_zarr']) {
    const store = OrbaxCheckpoint.open(orbax(`pi05_micro_${name}/params`))
    const wrong: string[] = []
    for (const [leaf, { shape }] of store.tensors) {
      const whole = store.bytes(leaf)
      const size = shape.reduce((a, b) => a * b, 1)
      for (let i = 0; i < 6; i++) {
        const first = random(size)
        const count = random(size - first) + 1
        const part = store.bytes(leaf, first, count)
        if (Buffer.compare(part, whole.subarray(first * 4, (first + count) * 4)) !== 0)
          wrong.push(`${leaf} ${first} ${count}`)
      }
    }
    store.close()
    t.same(wrong, [], name)
  }
})

t.test('damage is refused by the name of its file, and what does not matter may be missing', async t => {
  const folder = scratch(t)
  const expected: Record<string, RegExp | undefined> = {
    missing_data_file: /process_0\/d\/2bed[0-9a-f]+: is missing/,
    truncated_data_file: /d\/2bed[0-9a-f]+: has 44065 bytes; .* cut short/,
    empty_data_file: /d\/2bed[0-9a-f]+: has 0 bytes; .* cut short/,
    missing_root_node: /d\/c2dc[0-9a-f]+: is missing/,
    bitflip_root_node: /d\/c2dc[0-9a-f]+: the checksum \(CRC-32C\) of its node is wrong/,
    truncated_manifest: /manifest\.ocdbt: says that its manifest has 115 bytes, but 110 are there/,
    bitflip_manifest: /manifest\.ocdbt: the checksum \(CRC-32C\) of its manifest is wrong/,
    missing_METADATA: /_METADATA: is missing/,
    truncated_METADATA: /_METADATA: is not JSON/,
    missing_sharding: undefined,
    missing_array_metadatas: undefined,
    missing_process_manifest: undefined,
    // Nothing covers array data; a flip that the decoder survives gives other numbers.
    bitflip_data_file: undefined,
  }
  t.same(
    recipes()
      .map(({ name }) => name)
      .sort(),
    Object.keys(expected).sort(),
  )
  for (const recipe of recipes()) {
    const directory = damagedCopy(folder, recipe)
    const message = expected[recipe.name]
    if (message) t.throws(() => everythingIn(directory), { code: 'CHECKPOINT_INVALID', message }, recipe.name)
    else {
      const same = everythingIn(orbax(recipe.base))
      const differing = [...everythingIn(directory)].filter(([name, bytes]) =>
        Buffer.compare(bytes, same.get(name)!),
      )
      t.same(
        differing.map(([name]) => name),
        recipe.name === 'bitflip_data_file' ? ['params/PaliGemma/llm/layers/mlp/linear'] : [],
        recipe.name,
      )
    }
  }
})

function flipped(bytes: Buffer, at: number, bit: number): Buffer {
  bytes[at]! ^= 1 << bit
  return bytes
}

t.test('a cut or changed file never reads as if it were whole', async t => {
  const folder = scratch(t)
  const original = everythingIn(orbax('pi05_micro_bf16'))
  const damage: [file: string, change: (bytes: Buffer) => Buffer][] = []
  for (const file of ['manifest.ocdbt', 'd/c2dc29f85d6ea30620f4898c40cfe76e'])
    for (let i = 0; i < 24; i++) {
      damage.push([file, bytes => bytes.subarray(0, Math.floor((bytes.length * i) / 24))])
      damage.push([file, bytes => flipped(bytes, Math.floor((bytes.length * i) / 24), i % 8)])
    }
  for (const [i, [file, change]] of damage.entries()) {
    const directory = join(folder, String(i))
    cpSync(orbax('pi05_micro_bf16/params'), join(directory, 'params'), { recursive: true })
    const path = join(directory, 'params', file)
    writeFileSync(path, change(readFileSync(path)))
    t.throws(() => everythingIn(directory), { code: 'CHECKPOINT_INVALID', message: path }, `${file} ${i}`)
  }
  t.equal(original.size, 51)
})

t.test(
  'missing manifests, arrays and chunks are refused; where zeros are not stored, a missing chunk is zeros',
  async t => {
    const folder = scratch(t)
    const copy = (name: string) => {
      const directory = join(folder, name)
      cpSync(orbax(name), directory, { recursive: true })
      return directory
    }
    const bf16 = copy('pi05_micro_bf16')
    rmSync(join(bf16, 'params/manifest.ocdbt'))
    t.throws(() => everythingIn(bf16), {
      message: /manifest\.ocdbt: is missing, but .* not written to its end/,
    })

    const plain = copy('pi05_micro_plain_zarr')
    const array = join(plain, 'params/params.time_mlp_in.kernel.value')
    rmSync(join(array, '0.0'))
    t.throws(() => everythingIn(plain), {
      message: /time_mlp_in\.kernel\.value.*chunk 0\.0 of .* is missing/,
    })
    rmSync(array, { recursive: true })
    t.throws(() => everythingIn(plain), {
      message: /_METADATA lists the array params\.time_mlp_in\.kernel\.value/,
    })

    const leaf = 'params/time_mlp_out/kernel/value'
    t.ok(
      everythingIn(orbax('pi05_micro_absent_chunks'))
        .get(leaf)!
        .every(byte => byte === 0),
    )
  },
)

/** One array [4, 6] in a folder: chunks of [3, 4], so that those at the edges reach beyond it. */
function edgeArray(
  folder: string,
  metadata: object,
  files: Record<string, Uint8Array>,
  metadataFile = '.zarray',
): string {
  const array = join(folder, 'params', 'params.a')
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(join(array, path, '..'), { recursive: true })
    writeFileSync(join(array, path), bytes)
  }
  writeFileSync(join(array, metadataFile), JSON.stringify(metadata))
  const key_metadata = [{ key: 'params' }, { key: 'a' }]
  writeFileSync(
    join(folder, 'params', '_METADATA'),
    JSON.stringify({ tree_metadata: { a: { key_metadata, value_metadata: { value_type: 'jax.Array' } } } }),
  )
  return folder
}

/** Chunk (i, j) of the array whose element (r, c) is 6r + c; what lies outside is −1. */
function edgeChunk(i: number, j: number): Buffer {
  const at = (k: number) => [i * 3 + Math.floor(k / 4), j * 4 + (k % 4)] as const
  const values = Float32Array.from({ length: 12 }, (_, k) =>
    at(k)[0] < 4 && at(k)[1] < 6 ? at(k)[0] * 6 + at(k)[1] : -1,
  )
  return Buffer.from(values.buffer)
}

t.test('chunks at the edges are clipped, shards hold several chunks', async t => {
  const expected = Array.from({ length: 24 }, (_, i) => i)
  const values = (folder: string) => {
    const store = OrbaxCheckpoint.open(join(folder, 'params'))
    const parts = [store.float32('params/a'), store.float32('params/a', 5, 9)].map(part => [...part])
    store.close()
    return parts
  }
  const v2 = {
    shape: [4, 6],
    chunks: [3, 4],
    dtype: '<f4',
    compressor: null,
    fill_value: 0,
    filters: null,
    order: 'C',
  }
  const files = Object.fromEntries(
    ['0.0', '0.1', '1.0', '1.1'].map(key => [key, edgeChunk(+key[0]!, +key[2]!)]),
  )
  t.same(values(edgeArray(scratch(t), v2, files)), [expected, expected.slice(5, 14)])
  const slashed = Object.fromEntries(
    Object.entries(files).map(([key, bytes]) => [key.replace('.', '/'), bytes]),
  )
  t.same(values(edgeArray(scratch(t), { ...v2, dimension_separator: '/' }, slashed))[0], expected)

  const bytes = { name: 'bytes', configuration: { endian: 'little' } }
  const sharding = { chunk_shape: [3, 4], codecs: [bytes], index_codecs: [bytes, { name: 'crc32c' }] }
  const v3 = {
    shape: [4, 6],
    data_type: 'float32',
    fill_value: 0,
    chunk_grid: { name: 'regular', configuration: { chunk_shape: [6, 4] } },
    chunk_key_encoding: { name: 'default' },
    codecs: [{ name: 'sharding_indexed', configuration: sharding }],
  }
  const shard = (j: number, absent?: number) => {
    const index = Buffer.alloc(2 * 16 + 4)
    for (const i of [0, 1]) {
      index.writeBigUInt64LE(i === absent ? 2n ** 64n - 1n : BigInt(i * 48), i * 16)
      index.writeBigUInt64LE(i === absent ? 2n ** 64n - 1n : 48n, i * 16 + 8)
    }
    index.writeUInt32LE(crc32c(index.subarray(0, 32)), 32)
    return Buffer.concat([edgeChunk(0, j), edgeChunk(1, j), index])
  }
  const shards = { 'c/0/0': shard(0), 'c/0/1': shard(1) }
  t.same(values(edgeArray(scratch(t), v3, shards, 'zarr.json')), [expected, expected.slice(5, 14)])
  const hole = edgeArray(scratch(t), v3, { ...shards, 'c/0/1': shard(1, 1) }, 'zarr.json')
  t.same(
    values(hole)[0],
    expected.map(value => (value >= 22 ? 0 : value)),
  )
  shards['c/0/0'][100]! ^= 1
  t.throws(() => values(edgeArray(scratch(t), v3, shards, 'zarr.json')), {
    message: /c\/0\/0: the checksum .* of its shard index/,
  })

  const mistakes: [object, RegExp][] = [
    [{ dtype: '>f4' }, /dtype is ">f4"; this server reads <f4/],
    [{ order: 'F' }, /order is "F"/],
    [{ compressor: { id: 'blosc' } }, /compressor is {"id":"blosc"}; this server reads zstd or none/],
    [{ filters: [{}] }, /filters is/],
    [{ fill_value: 1.5 }, /fill_value is 1\.5/],
    [{ chunks: [3] }, /chunk shape is \[3\]; this server reads 2 positive sizes/],
    [{ shape: undefined }, /shape is missing/],
  ]
  for (const [change, message] of mistakes)
    t.throws(() => values(edgeArray(scratch(t), { ...v2, ...change }, files)), {
      code: 'CHECKPOINT_INVALID',
      message,
    })
  t.throws(() => values(edgeArray(scratch(t), v2, { ...files, '1.0': edgeChunk(1, 0).subarray(0, 40) })), {
    message: /1\.0: holds a chunk of 40 bytes; expected 48/,
  })
})

t.test(
  'Zstandard frames: empty, repeated and raw blocks; a cut one, a long one and a bomb are refused',
  async t => {
    const header = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x48]
    const block = (last: boolean, type: number, size: number) => {
      const word = (size << 3) | (type << 1) | Number(last)
      return [word & 0xff, (word >> 8) & 0xff, word >> 16]
    }
    const decode = (bytes: number[], limit = 1e6) =>
      decodeZstd(memoryBlob('file', Uint8Array.from(bytes)), limit)
    const repeated = [
      ...header,
      ...block(false, 1, 1000),
      7,
      ...block(false, 0, 2),
      8,
      9,
      ...block(true, 0, 0),
    ]
    t.same([...decode(repeated)], [...Array(1000).fill(7), 8, 9])
    t.same([...decode([...header, ...block(true, 0, 0)])], [])
    for (let length = 0; length < repeated.length; length++)
      t.throws(
        () => decode(repeated.slice(0, length)),
        { code: 'CHECKPOINT_INVALID', message: /^file: / },
        `cut at ${length}`,
      )
    t.throws(() => decode([...repeated, 0]), { message: /is followed by 1 bytes/ })
    t.throws(() => decode([...header, ...block(true, 0, 2 ** 18)]), {
      message: /has a block of 262144 bytes/,
    })
    const bomb = Array.from({ length: 100 }, () => [...block(false, 1, 2 ** 17), 0]).flat()
    t.throws(() => decode([...header, ...bomb, ...block(true, 0, 0)]), {
      message: /decodes to more than 1000000 bytes/,
    })
  },
)

t.test('CRC-32C is that of RFC 3720', async t => {
  t.equal(crc32c(new Uint8Array(32)), 0x8a9136aa)
  t.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43)
  t.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e)
})
