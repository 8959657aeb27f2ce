import { DTYPE_BYTES } from '../dtype.js'
import type { Blob } from './blob.js'
import { type ChunkReader, plainChunk, ZstdChunk } from './chunk-reader.js'
import { damaged } from './damage.js'
import { coordinates, countBefore, gridOf, product, runsOf } from './grid.js'
import type { KeyValues } from './key-values.js'
import { chunkOfShard } from './shard.js'
import type { ZarrArray } from './zarr-array.js'

interface Chunk {
  /** Coordinates of its first element. */
  origin: number[]
  /** Undefined when it is not stored: zeros. */
  reader: ChunkReader | undefined
}

/** Reads runs of an array's elements out of its chunks. Reading in order decodes every chunk once. */
export class ArrayReader {
  readonly #array: ZarrArray
  readonly #chunks: readonly Chunk[]
  readonly #itemSize: number

  /** `zerosAreStored`: a chunk that is not there is a fault, not zeros. */
  constructor(store: KeyValues, name: string, array: ZarrArray, zerosAreStored: boolean) {
    this.#array = array
    this.#itemSize = DTYPE_BYTES[array.dtype]
    const { shape, chunkShape, compressed } = array
    const byteLength = product(chunkShape) * this.#itemSize
    const counts = shape.map((size, axis) => Math.ceil(size / chunkShape[axis]!))
    this.#chunks = [...gridOf(counts)].map(place => {
      const blob = locate(store, name, array, place)
      if (!blob && zerosAreStored)
        throw damaged(
          store.pathOf(`${name}/${array.keyOf(place)}`),
          `chunk ${place.join('.')} of ${name} is missing; this checkpoint stores all of them. Copy it again.`,
        )
      const origin = place.map((index, axis) => index * chunkShape[axis]!)
      if (!blob) return { origin, reader: undefined }
      return { origin, reader: compressed ? new ZstdChunk(blob, byteLength) : plainChunk(blob, byteLength) }
    })
  }

  /** Row-major index of the first element of each chunk: reading there needs no more than the chunks' beginnings. */
  chunkStarts(): number[] {
    const { shape } = this.#array
    return this.#chunks.map(({ origin }) =>
      origin.reduce((index, place, axis) => index * shape[axis]! + place, 0),
    )
  }

  /** Little-endian bytes of `count` elements from element `first` on. */
  bytes(first: number, count: number): Uint8Array<ArrayBuffer> {
    const { shape, chunkShape } = this.#array
    const result = new Uint8Array(count * this.#itemSize)
    const total = product(shape)
    const start = coordinates(first, shape)
    const end = first + count < total ? coordinates(first + count, shape) : undefined
    for (const { origin, reader } of this.#chunks) {
      if (!reader) continue
      const from = countBefore(start, origin, chunkShape)
      const to = end ? countBefore(end, origin, chunkShape) : product(chunkShape)
      if (from < to) this.#copy(result, first, reader, origin, from, to)
    }
    return result
  }

  #copy(
    target: Uint8Array,
    first: number,
    reader: ChunkReader,
    origin: readonly number[],
    from: number,
    to: number,
  ): void {
    const { shape, chunkShape } = this.#array
    const size = this.#itemSize
    const runs = runsOf(from, to, origin, chunkShape, shape)
    let run = runs.next().value
    let position = from * size
    // Pieces need not end where elements do.
    for (const piece of reader.read(from * size, to * size)) {
      const pieceEnd = position + piece.byteLength
      while (run && run.from * size < pieceEnd) {
        const begin = Math.max(run.from * size, position)
        const stop = Math.min((run.from + run.count) * size, pieceEnd)
        const place = (run.to - first) * size + begin - run.from * size
        target.set(piece.subarray(begin - position, stop - position), place)
        if (stop < (run.from + run.count) * size) break
        run = runs.next().value
      }
      position = pieceEnd
    }
  }
}

function locate(
  store: KeyValues,
  name: string,
  array: ZarrArray,
  place: readonly number[],
): Blob | undefined {
  const { shard } = array
  if (!shard) return store.get(`${name}/${array.keyOf(place)}`)
  const outer = place.map((index, axis) => Math.floor(index / shard[axis]!))
  const blob = store.get(`${name}/${array.keyOf(outer)}`)
  const inner = place.reduce((index, at, axis) => index * shard[axis]! + (at % shard[axis]!), 0)
  return blob && chunkOfShard(blob, inner, product(shard))
}
