import type { Dtype } from '../dtype.js'
import { checkGrid, requireZeroFill, unsupported, type ZarrArray } from './zarr-array.js'

type Json = Record<string, unknown>

const DTYPES: Readonly<Record<string, Dtype>> = {
  float32: 'F32',
  float16: 'F16',
  float64: 'F64',
  bfloat16: 'BF16',
  int32: 'I32',
  int64: 'I64',
}

const named = (value: unknown) => (value ?? {}) as { name?: unknown; configuration?: Json }

/** Reads a `zarr.json`: chunks that are compressed as they are, or shards of such chunks with an index at their end. */
export function readZarr3(json: Json, path: string): ZarrArray {
  const dtype = DTYPES[String(json['data_type'])]
  if (!dtype) throw unsupported(path, 'data_type', json['data_type'], Object.keys(DTYPES).join(', '))
  requireZeroFill(path, json['fill_value'])
  const grid = named(json['chunk_grid'])
  if (grid.name !== 'regular') throw unsupported(path, 'chunk_grid', grid.name, 'a regular one')
  const { shape, chunkShape: outer } = checkGrid(path, json['shape'], grid.configuration?.['chunk_shape'])
  const keyOf = keysOf(json['chunk_key_encoding'], path)
  const codecs = codecList(json['codecs'], path)
  const first = named(codecs[0])
  if (first.name !== 'sharding_indexed')
    return { path, dtype, shape, chunkShape: outer, compressed: isCompressed(codecs, path), keyOf }
  if (codecs.length > 1)
    throw unsupported(
      path,
      'codecs',
      codecs.map(codec => named(codec).name),
      'sharding alone',
    )
  return { path, dtype, shape, keyOf, ...readSharding(first.configuration ?? {}, outer, path) }
}

function readSharding(sharding: Json, outer: readonly number[], path: string) {
  const { chunkShape } = checkGrid(path, outer, sharding['chunk_shape'])
  const shard = outer.map((size, axis) => size / chunkShape[axis]!)
  if (!shard.every(Number.isInteger))
    throw unsupported(path, 'sharding chunk_shape', chunkShape, `divisors of [${outer.join(', ')}]`)
  const index = codecList(sharding['index_codecs'], path).map(codec => named(codec).name)
  if (index.join() !== 'bytes,crc32c') throw unsupported(path, 'index_codecs', index, '["bytes","crc32c"]')
  const location = sharding['index_location'] ?? 'end'
  if (location !== 'end') throw unsupported(path, 'index_location', location, '"end"')
  return { chunkShape, shard, compressed: isCompressed(codecList(sharding['codecs'], path), path) }
}

function keysOf(encoding: unknown, path: string): ZarrArray['keyOf'] {
  const { name, configuration } = named(encoding)
  const separator = configuration?.['separator'] ?? (name === 'v2' ? '.' : '/')
  if ((name !== 'default' && name !== 'v2') || (separator !== '.' && separator !== '/'))
    throw unsupported(path, 'chunk_key_encoding', encoding, 'default or v2, with "." or "/"')
  if (name === 'v2') return chunk => (chunk.length > 0 ? chunk.join(separator) : '0')
  return chunk => ['c', ...chunk].join(separator)
}

function codecList(codecs: unknown, path: string): unknown[] {
  if (Array.isArray(codecs) && codecs.length > 0) return codecs
  throw unsupported(path, 'codecs', codecs, 'a list of codecs')
}

/** Little-endian bytes, and Zstandard after them or nothing. */
function isCompressed(codecs: readonly unknown[], path: string): boolean {
  const names = codecs.map(codec => named(codec).name)
  const endian = named(codecs[0]).configuration?.['endian'] ?? 'little'
  if (names[0] !== 'bytes' || endian !== 'little' || (names.length > 1 && names.join() !== 'bytes,zstd'))
    throw unsupported(path, 'codecs', names, 'little-endian bytes, then zstd or nothing')
  return names.length > 1
}
