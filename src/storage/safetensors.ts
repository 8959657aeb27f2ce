import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { reasonOf, TurboPiError } from '../errors.js'
import type { Content } from './content.js'
import { DTYPE_BYTES, type Dtype, isDtype, toFloat32 } from './dtype.js'
import { requireGivenFile } from './given-file.js'
import { isJsonObject, readJsonObject } from './json-file.js'
import type { TensorStore } from './tensor-source.js'

/** One tensor of a safetensors file. */
export interface TensorEntry {
  dtype: Dtype
  shape: readonly number[]
  /** Absolute position of its first byte in its file. */
  offset: number
  byteLength: number
}

/** The released models' headers have some 200 kB and 1,000 tensors. */
const MAX_HEADER_BYTES = 2 ** 25
const MAX_TENSORS = 2 ** 16
/** One read call takes less than 2 GiB. */
const MAX_READ_BYTES = 2 ** 30
/** Places at which a tensor is sampled. */
const SAMPLES = 4

const invalid = (path: string, detail: string) => new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`)

export const elementCount = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1)

/**
 * Tensors of one safetensors file, or of the shards that a `*.safetensors.index.json` names. Only headers are read on
 * opening; tensors are read by range, so the size of the file does not matter. Throws CHECKPOINT_INVALID.
 */
export class Safetensors implements TensorStore {
  readonly tensors = new Map<string, TensorEntry>()
  readonly metadata: Record<string, string> = {}
  private readonly paths: string[] = []
  private readonly descriptors: number[] = []
  private readonly home = new Map<string, number>()

  private constructor(readonly path: string) {}

  /** Opens a `.safetensors` file or the `.index.json` of a sharded one. */
  static open(path: string): Safetensors {
    const store = new Safetensors(path)
    try {
      if (path.endsWith('.json')) store.addShards()
      else store.addFile(path)
      return store
    } catch (error) {
      store.close()
      throw error
    }
  }

  private addShards(): void {
    const weightMap = readJsonObject(this.path, 'CHECKPOINT_INVALID')['weight_map']
    if (typeof weightMap !== 'object' || weightMap === null)
      throw invalid(this.path, 'expected an object "weight_map" from tensor names to file names')
    const named = new Map(Object.entries(weightMap as Record<string, unknown>))
    const shards = new Set<string>()
    for (const shard of named.values()) {
      if (typeof shard !== 'string' || shard !== basename(shard))
        throw invalid(
          this.path,
          `weight_map names ${JSON.stringify(shard)}; expected a file in the same folder`,
        )
      shards.add(shard)
    }
    for (const shard of [...shards].sort()) this.addFile(join(dirname(this.path), shard))
    for (const [tensor, shard] of named)
      if (!this.tensors.has(tensor))
        throw invalid(this.path, `weight_map puts tensor ${tensor} into ${shard}, which does not hold it`)
  }

  private addFile(path: string): void {
    requireGivenFile(path, 'CHECKPOINT_INVALID')
    const descriptor = openSync(path, 'r')
    const index = this.descriptors.push(descriptor) - 1
    this.paths.push(path)
    const header = readHeader(descriptor, path, fstatSync(descriptor).size)
    Object.assign(this.metadata, header.metadata)
    for (const [name, entry] of header.tensors) {
      if (this.tensors.has(name)) throw invalid(path, `tensor ${name} is also in another shard`)
      this.tensors.set(name, entry)
      this.home.set(name, index)
    }
  }

  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name)
    if (!entry) throw invalid(this.path, `there is no tensor ${name}`)
    return entry
  }

  shape(name: string): readonly number[] {
    return this.entry(name).shape
  }

  /** Evenly spaced, first and last elements among them. */
  samplePlaces(name: string, count: number): number[] {
    const last = elementCount(this.shape(name)) - count
    if (last <= 0) return [0]
    return Array.from({ length: SAMPLES }, (_, i) => Math.floor((last * i) / (SAMPLES - 1)))
  }

  /** Raw little-endian bytes of `count` elements from element `first` on; all of them by default. */
  bytes(name: string, first = 0, count?: number): Uint8Array<ArrayBuffer> {
    const { dtype, shape, offset } = this.entry(name)
    const size = DTYPE_BYTES[dtype]
    const bytes = new Uint8Array((count ?? elementCount(shape) - first) * size)
    readFully(this.descriptors[this.home.get(name)!]!, bytes, offset + first * size, this.path)
    return bytes
  }

  /** Elements widened (or, for float64 and integers, rounded) to float32. */
  float32(name: string, first = 0, count?: number): Float32Array {
    return toFloat32(this.entry(name).dtype, this.bytes(name, first, count))
  }

  /** The headers say which tensors a file holds, so that its own name does not count. */
  content(): Content {
    return { files: this.paths.map(path => ({ path: resolve(path), name: '' })) }
  }

  close(): void {
    for (const descriptor of this.descriptors.splice(0)) closeSync(descriptor)
  }
}

function readFully(descriptor: number, target: Uint8Array, position: number, path: string): void {
  for (let done = 0; done < target.byteLength; ) {
    const length = Math.min(target.byteLength - done, MAX_READ_BYTES)
    const got = readSync(descriptor, target, done, length, position + done)
    if (got === 0) throw invalid(path, `ends at byte ${position + done}; the file was cut while it was read`)
    done += got
  }
}

function readHeader(descriptor: number, path: string, size: number) {
  if (size < 8)
    throw invalid(path, `has ${size} bytes; a safetensors file begins with an 8-byte header length`)
  const prefix = new Uint8Array(8)
  readFully(descriptor, prefix, 0, path)
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true))
  if (length > MAX_HEADER_BYTES && length <= size - 8)
    throw invalid(path, `has a header of ${length} bytes; no checkpoint needs more than ${MAX_HEADER_BYTES}`)
  if (length > size - 8)
    throw invalid(
      path,
      `its header would have ${length} bytes but the file has ${size}; it is cut short or no safetensors file`,
    )
  const bytes = new Uint8Array(length)
  readFully(descriptor, bytes, 8, path)
  const { __metadata__: metadata = {}, ...entries } = parseHeader(bytes, path)
  const tensors = new Map<string, TensorEntry>()
  const count = Object.keys(entries).length
  if (count > MAX_TENSORS)
    throw invalid(path, `lists ${count} tensors; no checkpoint has more than ${MAX_TENSORS}`)
  for (const [name, value] of Object.entries(entries))
    tensors.set(name, checkEntry(path, name, value, 8 + length))
  checkLayout(path, tensors, 8 + length, size)
  return { tensors, metadata: metadata as Record<string, string> }
}

function parseHeader(bytes: Uint8Array, path: string): Record<string, unknown> {
  try {
    const header: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    if (isJsonObject(header)) return header
  } catch (error) {
    throw invalid(path, `its header is not JSON: ${reasonOf(error)}`)
  }
  throw invalid(path, 'its header is not a JSON object')
}

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every(n => Number.isSafeInteger(n) && n >= 0)

function checkEntry(path: string, name: string, value: unknown, dataStart: number): TensorEntry {
  const { dtype, shape, data_offsets: range } = (value ?? {}) as Record<string, unknown>
  if (!isDtype(dtype))
    throw invalid(
      path,
      `tensor ${name} has dtype ${JSON.stringify(dtype)}; expected one of ${Object.keys(DTYPE_BYTES).join(', ')}`,
    )
  if (!isSizes(shape))
    throw invalid(path, `tensor ${name} has shape ${JSON.stringify(shape)}; expected a list of sizes`)
  if (!isSizes(range) || range.length !== 2)
    throw invalid(
      path,
      `tensor ${name} has data_offsets ${JSON.stringify(range)}; expected two byte positions`,
    )
  const [begin, end] = range as [number, number]
  const byteLength = elementCount(shape) * DTYPE_BYTES[dtype]
  if (end - begin !== byteLength)
    throw invalid(
      path,
      `tensor ${name} of shape [${shape}] and dtype ${dtype} takes ${byteLength} bytes, but data_offsets give ${end - begin}`,
    )
  return { dtype, shape, offset: dataStart + begin, byteLength }
}

/** Tensors must fill the file from the header to its end without gap or overlap, as the format demands. */
function checkLayout(
  path: string,
  tensors: Map<string, TensorEntry>,
  dataStart: number,
  fileSize: number,
): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength)
  let position = dataStart
  for (const [name, { offset, byteLength }] of sorted) {
    if (offset + byteLength > fileSize)
      throw invalid(
        path,
        `tensor ${name} ends at byte ${offset + byteLength}, but the file has ${fileSize}; it is cut short, copy it again`,
      )
    if (offset !== position)
      throw invalid(
        path,
        `tensor ${name} starts at byte ${offset}, expected ${position} (a gap or an overlap)`,
      )
    position += byteLength
  }
  if (position !== fileSize)
    throw invalid(path, `has ${fileSize - position} bytes after the last tensor; expected none`)
}

/** A tensor to be written: its elements come in consecutive pieces, so that no tensor need be in memory at once. */
export interface TensorToWrite {
  dtype: Dtype
  shape: readonly number[]
  pieces: () => Iterable<ArrayBufferView>
}

/** Writes a safetensors file from front to back. `onBytes` hears how many bytes were written each time. */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorToWrite>,
  metadata: Record<string, string> = {},
  onBytes: (count: number) => void = () => {},
): void {
  const header: Record<string, unknown> = Object.keys(metadata).length ? { __metadata__: metadata } : {}
  let position = 0
  for (const [name, { dtype, shape }] of tensors) {
    const end = position + elementCount(shape) * DTYPE_BYTES[dtype]
    header[name] = { dtype, shape, data_offsets: [position, end] }
    position = end
  }
  const json = JSON.stringify(header)
  const text = Buffer.from(json + ' '.repeat(-Buffer.byteLength(json) & 7))
  const length = new BigUint64Array([BigInt(text.byteLength)])
  const descriptor = openSync(path, 'w')
  try {
    writeFully(descriptor, length)
    writeFully(descriptor, text)
    for (const [name, { dtype, shape, pieces }] of tensors) {
      let written = 0
      for (const piece of pieces()) {
        writeFully(descriptor, piece)
        written += piece.byteLength
        onBytes(piece.byteLength)
      }
      const expected = elementCount(shape) * DTYPE_BYTES[dtype]
      if (written !== expected)
        throw new Error(`tensor ${name}: ${written} bytes written, ${expected} expected`)
    }
  } finally {
    closeSync(descriptor)
  }
}

/** Writes all bytes of a view at the descriptor's position. */
export function writeFully(descriptor: number, view: ArrayBufferView): void {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
  for (let done = 0; done < bytes.byteLength; )
    done += writeSync(descriptor, bytes, done, Math.min(bytes.byteLength - done, MAX_READ_BYTES))
}
