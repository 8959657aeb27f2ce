import { closeSync, openSync } from 'node:fs'
import { type FileDigest, PieceHasher } from '../storage/content.js'
import { toBfloat16, toFloat16 } from '../storage/dtype.js'
import { elementCount, writeFully } from '../storage/safetensors.js'
import type { ElementType } from './encode.js'

/** A weight as the graph takes it; its elements are made on demand, in consecutive pieces. */
export interface Weight {
  name: string
  type: ElementType
  shape: readonly number[]
  pieces: () => Iterable<Float32Array | Int8Array | Uint8Array>
}

/** Where a weight lies in the weights file. */
export interface WeightPlace {
  file: string
  offset: number
  byteLength: number
}

const ELEMENT_BYTES: Partial<Record<ElementType, number>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int8: 1,
  uint8: 1,
}
/** A cache line, and what GPU copies like. */
const ALIGNMENT = 64

/** The one file that holds the weights of all graphs. Places are given out first, the bytes written afterwards. */
export class WeightsFile {
  private readonly weights: { weight: Weight; place: WeightPlace }[] = []
  private end = 0

  /** `file` is the name beside the graphs. */
  constructor(readonly file: string) {}

  get byteLength(): number {
    return this.end
  }

  add(weight: Weight): WeightPlace {
    const offset = Math.ceil(this.end / ALIGNMENT) * ALIGNMENT
    const byteLength = elementCount(weight.shape) * ELEMENT_BYTES[weight.type]!
    const place = { file: this.file, offset, byteLength }
    this.end = offset + byteLength
    this.weights.push({ weight, place })
    return place
  }

  /** All bytes of the file, in consecutive views, one piece of a weight in memory at a time. */
  *bytes(): Iterable<ArrayBufferView> {
    let position = 0
    for (const { weight, place } of this.weights) {
      yield new Uint8Array(place.offset - position)
      position = place.offset
      for (const piece of weight.pieces()) {
        const narrow = narrowed(piece, weight.type)
        yield narrow
        position += narrow.byteLength
      }
      if (position !== place.offset + place.byteLength)
        throw new Error(
          `weight ${weight.name}: ${position - place.offset} bytes made, ${place.byteLength} planned`,
        )
    }
  }

  /** Writes all weights to `path` and gives the file's digest. `onProgress` hears bytes done and in all. */
  write(path: string, onProgress: (done: number, total: number) => void = () => {}): FileDigest {
    const descriptor = openSync(path, 'w')
    const hasher = new PieceHasher()
    let done = 0
    try {
      for (const view of this.bytes()) {
        writeFully(descriptor, view)
        hasher.update(view)
        done += view.byteLength
        if (view.byteLength > 0) onProgress(done, this.end)
      }
    } finally {
      closeSync(descriptor)
    }
    return hasher.end()
  }
}

function narrowed(piece: Float32Array | Int8Array | Uint8Array, type: ElementType): ArrayBufferView {
  if (type !== 'float16' && type !== 'bfloat16') return piece
  const narrow = type === 'float16' ? toFloat16 : toBfloat16
  // Uint16Array.from takes ten times as long.
  const bits = new Uint16Array(piece.length)
  for (let i = 0; i < bits.length; i++) bits[i] = narrow(piece[i]!)
  return bits
}
