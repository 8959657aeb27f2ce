import { LRUCache } from 'lru-cache'
import { TurboPiError } from '../../../errors.js'
import type { Content } from '../../../storage/content.js'
import { DTYPE_BYTES, toFloat32 } from '../../../storage/dtype.js'
import { OrbaxCheckpoint } from '../../../storage/orbax/checkpoint.js'
import { elementCount } from '../../../storage/safetensors.js'
import type { TensorInfo, TensorStore } from '../../../storage/tensor-source.js'
import { merged } from '../low-rank.js'
import { adaptersOf } from './adapters.js'
import { arranged, arrangedShape, keepsOrder, type Words } from './arrangement.js'
import { checkLeaves, jaxLeaves, jaxModelType, type Leaf, type Leaves } from './leaves.js'
import type { Adapter } from './lora.js'
import { jaxParameters, type Parameter } from './parameters.js'

/** Where a tensor of ours lies in a parameter. */
interface Place extends TensorInfo {
  parameter: Parameter
  leaf: Leaf
  /** Which part of the leaf it is: parts are of one size and come one after another. */
  part: number
  /** The part's axes. */
  dims: readonly number[]
  adapter: Adapter | undefined
}

/** Arranged tensors that are kept: a projection may be read again soon, and reading back decodes anew. */
const KEPT_BYTES = 2 ** 28

/**
 * An openpi JAX checkpoint under the names and shapes of its conversion to PyTorch (network §2.1), bit for bit, with LoRA
 * adapters merged into the weights.
 */
export class JaxTensors implements TensorStore {
  readonly leaves: Leaves
  readonly tensors: ReadonlyMap<string, Place>
  /** What was merged and with which scale; empty without adapters. */
  readonly adapters: readonly string[]
  /** Ranks of the attention's adapters. */
  readonly adapterRanks: { prefix?: number; expert?: number }
  readonly #kept = new LRUCache<string, Uint8Array<ArrayBuffer>>({
    maxSize: KEPT_BYTES,
    sizeCalculation: bytes => bytes.byteLength || 1,
  })

  /** The weights that have adapters, with the scale that they are merged with. */
  readonly #scales: readonly (readonly [string, number])[]

  private constructor(
    readonly path: string,
    /** The parameters as they are stored. */
    readonly store: TensorStore,
  ) {
    this.leaves = jaxLeaves(store)
    checkLeaves(this.leaves, path)
    const { adapters, ranks, found } = adaptersOf(this.leaves, path)
    this.adapters = found
    this.adapterRanks = ranks
    this.#scales = [...adapters].map(([weight, { scale }]) => [weight, scale])
    this.tensors = placesOf(this.leaves, adapters, path)
  }

  /** Opens the `params` folder of a checkpoint. Throws CHECKPOINT_INVALID. */
  static open(params: string): JaxTensors {
    const store = OrbaxCheckpoint.open(params)
    try {
      return new JaxTensors(params, store)
    } catch (error) {
      store.close()
      throw error
    }
  }

  content(): Content {
    const { files } = this.store.content()
    return this.#scales.length === 0 ? { files } : { files, made: JSON.stringify({ lora: this.#scales }) }
  }

  entry(name: string): Place {
    const place = this.tensors.get(name)
    if (place) return place
    throw new TurboPiError('CHECKPOINT_INVALID', `${this.path}: there is no tensor ${name}`)
  }

  shape(name: string): readonly number[] {
    return this.entry(name).shape
  }

  bytes(name: string, first = 0, count?: number): Uint8Array<ArrayBuffer> {
    const place = this.entry(name)
    const size = elementCount(place.shape)
    const wanted = count ?? size - first
    if (!place.adapter && keepsOrder(place.parameter.arrangement))
      return this.store.bytes(place.leaf.stored, place.part * size + first, wanted)
    const whole = this.#kept.get(name) ?? this.#arrange(place)
    this.#kept.set(name, whole)
    const width = DTYPE_BYTES[place.dtype]
    return whole.slice(first * width, (first + wanted) * width)
  }

  float32(name: string, first = 0, count?: number): Float32Array {
    return toFloat32(this.entry(name).dtype, this.bytes(name, first, count))
  }

  /** Places are those of the parameters: a tensor that is arranged anew has its beginning alone. */
  samplePlaces(): number[] {
    return [0]
  }

  close(): void {
    this.#kept.clear()
    this.store.close()
  }

  #arrange(place: Place): Uint8Array<ArrayBuffer> {
    const { parameter, dims, dtype, adapter } = place
    const bytes = adapter ? this.#merge(place, adapter) : this.#part(place.leaf, place.part, dims)
    const words: Words =
      DTYPE_BYTES[dtype] === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer)
    return new Uint8Array(arranged(parameter.arrangement, dims, words).buffer)
  }

  #part({ stored }: Leaf, part: number, dims: readonly number[]): Uint8Array<ArrayBuffer> {
    const size = elementCount(dims)
    return this.store.bytes(stored, part * size, size)
  }

  #merge({ leaf, part, dims }: Place, adapter: Adapter): Uint8Array<ArrayBuffer> {
    const factor = (name: string) => {
      const { stored, shape, dtype } = this.leaves.get(name)!
      const size = elementCount(shape.slice(-dims.length))
      return toFloat32(dtype, this.store.bytes(stored, part * size, size))
    }
    const base = toFloat32(leaf.dtype, this.#part(leaf, part, dims))
    return new Uint8Array(merged(base, factor(adapter.a), factor(adapter.b), adapter).buffer)
  }
}

function placesOf(leaves: Leaves, adapters: ReadonlyMap<string, Adapter>, path: string): Map<string, Place> {
  const places = new Map<string, Place>()
  for (const parameter of jaxParameters(jaxModelType(leaves))) {
    const leaf = leaves.get(parameter.leaf)!
    const { names, stacked, arrangement } = parameter
    const leading = (stacked ? 1 : 0) + (names.length > 1 ? 1 : 0)
    const dims = leaf.shape.slice(leading)
    const layers = stacked ? leaf.shape[0]! : 1
    checkAxes(parameter, leaf, leading, path)
    const adapter = adapters.get(parameter.leaf)
    for (let l = 0; l < layers; l++)
      for (const [i, name] of names.entries())
        places.set(name.replace('{l}', String(l)), {
          parameter,
          leaf,
          part: l * names.length + i,
          dims,
          adapter,
          dtype: adapter ? 'F32' : leaf.dtype,
          shape: arrangedShape(arrangement, dims),
        })
  }
  return places
}

/** Axes of a parameter after the leading ones. */
const AXES = { vector: [1, 2], table: [2, 2], patches: [4, 4] } as const

function checkAxes(
  { leaf, names, stacked, arrangement }: Parameter,
  { shape, dtype }: Leaf,
  leading: number,
  path: string,
): void {
  const fail = (expected: string) => {
    throw new TurboPiError(
      'CHECKPOINT_INVALID',
      `${path}: parameter ${leaf} has dtype ${dtype} and shape [${shape.join(', ')}]; expected ${expected}`,
    )
  }
  if (!['F32', 'BF16', 'F16'].includes(dtype)) fail('float32, bfloat16 or float16')
  if (names.length > 1 && shape[1] !== names.length) fail(`${names.length} parts on its second axis`)
  if (stacked && !names[0]!.includes('{l}') && shape[0] !== 1) fail('a first axis of size 1')
  const axes = shape.length - leading
  const [least, most] =
    arrangement.kind === 'matrix' ? [arrangement.batch + arrangement.rows + 1, 4] : AXES[arrangement.kind]
  if (axes < least || axes > most) fail(`${least + leading} axes or more`)
}
