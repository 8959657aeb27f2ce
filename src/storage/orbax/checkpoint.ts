import { existsSync, readdirSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import type { Content } from '../content.js'
import { toFloat32 } from '../dtype.js'
import type { TensorInfo, TensorStore } from '../tensor-source.js'
import { ArrayReader } from './array-reader.js'
import { Files } from './blob.js'
import { damaged } from './damage.js'
import { product } from './grid.js'
import { openKeyValues } from './key-values.js'
import { readTreeMetadata } from './metadata.js'
import { readZarrArray } from './zarr.js'

/** Files beside the data that nothing here depends on. */
const NOT_READ = /^(_sharding|_CHECKPOINT_METADATA|array_metadatas\/.*|ocdbt\.process_\d+\/manifest\.ocdbt)$/

/**
 * The arrays of one item of an Orbax checkpoint (its `params` folder) by their paths in the tree, such as
 * `params/PaliGemma/llm/final_norm/scale/value`. Opening reads the metadata and checks that all data is there; arrays are
 * read by range. Throws CHECKPOINT_INVALID.
 */
export class OrbaxCheckpoint implements TensorStore {
  readonly tensors = new Map<string, TensorInfo>()
  readonly #readers = new Map<string, ArrayReader>()
  readonly #files = new Files()

  private constructor(readonly path: string) {}

  static open(directory: string): OrbaxCheckpoint {
    const checkpoint = new OrbaxCheckpoint(directory)
    try {
      checkpoint.#open()
      return checkpoint
    } catch (error) {
      checkpoint.close()
      throw error
    }
  }

  #open(): void {
    const { arrays, zerosAreStored } = readTreeMetadata(this.path)
    requireDatabase(this.path)
    const store = openKeyValues(this.path, this.#files)
    for (const [path, name] of arrays) {
      const array = readZarrArray(store, name)
      this.tensors.set(path, { dtype: array.dtype, shape: array.shape })
      this.#readers.set(path, new ArrayReader(store, name, array, zerosAreStored))
    }
  }

  /** What is read; chunks are named, since a file's name says which one it is. */
  content(): Content {
    const files = readdirSync(this.path, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => relative(this.path, join(entry.parentPath, entry.name)).split(sep).join('/'))
      .filter(name => !NOT_READ.test(name))
      .sort()
    return { files: files.map(name => ({ path: resolve(this.path, name), name })) }
  }

  entry(name: string): TensorInfo {
    const info = this.tensors.get(name)
    if (info) return info
    throw damaged(this.path, `there is no array ${name}`)
  }

  shape(name: string): readonly number[] {
    return this.entry(name).shape
  }

  bytes(name: string, first = 0, count?: number): Uint8Array<ArrayBuffer> {
    const { shape } = this.entry(name)
    return this.#readers.get(name)!.bytes(first, count ?? product(shape) - first)
  }

  float32(name: string, first = 0, count?: number): Float32Array {
    return toFloat32(this.entry(name).dtype, this.bytes(name, first, count))
  }

  samplePlaces(name: string): number[] {
    return this.#readers.get(name)!.chunkStarts()
  }

  close(): void {
    this.#files.close()
  }
}

/** A database whose manifest is gone must not pass for a folder with the arrays in it. */
function requireDatabase(directory: string): void {
  const manifest = join(directory, 'manifest.ocdbt')
  if (existsSync(manifest)) return
  const rest = readdirSync(directory).find(name => name === 'd' || name.startsWith('ocdbt.process_'))
  if (rest)
    throw damaged(
      manifest,
      `is missing, but ${rest} is there: the checkpoint was not written to its end, or not copied whole.`,
    )
}
