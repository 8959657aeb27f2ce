import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TurboPiError } from '../../../errors.js'
import type { Content } from '../../../storage/content.js'
import { DTYPE_BYTES, toFloat32 } from '../../../storage/dtype.js'
import { elementCount, Safetensors } from '../../../storage/safetensors.js'
import type { TensorInfo, TensorStore } from '../../../storage/tensor-source.js'
import { merged } from '../low-rank.js'
import { readAdapterConfig } from './adapter-config.js'
import { type Change, changesOf } from './changes.js'

const CONFIG = 'adapter_config.json'
const WEIGHTS = 'adapter_model.safetensors'

/** A base's weights with the adapters of a PEFT folder (LeRobot's fine-tunes) merged in. */
export class PeftTensors implements TensorStore {
  readonly path: string
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly #changes: ReadonlyMap<string, Change>
  /** The tensor that was merged last; checks read a tensor in parts. */
  #last: { name: string; bytes: Uint8Array<ArrayBuffer> } | undefined

  private constructor(
    readonly base: TensorStore,
    readonly adapter: Safetensors,
    readonly directory: string,
  ) {
    this.path = `${base.path} with ${directory}`
    this.#changes = changesOf(base, adapter, readAdapterConfig(join(directory, CONFIG)))
    this.tensors = new Map(
      [...base.tensors].map(([name, info]) => [
        name,
        this.#changes.has(name) ? this.#changed(name, info) : info,
      ]),
    )
  }

  /** Lays the adapters of `directory` over a base, which it closes with itself. Throws CHECKPOINT_INVALID. */
  static open(base: TensorStore, directory: string): PeftTensors {
    let adapter: Safetensors | undefined
    try {
      for (const file of [CONFIG, WEIGHTS])
        if (!existsSync(join(directory, file)))
          throw new TurboPiError(
            'CHECKPOINT_INVALID',
            `${directory} has no ${file}; expected a folder that PEFT wrote: ${CONFIG} and ${WEIGHTS}.`,
          )
      adapter = Safetensors.open(join(directory, WEIGHTS))
      return new PeftTensors(base, adapter, directory)
    } catch (error) {
      adapter?.close()
      base.close()
      throw error
    }
  }

  content(): Content {
    const base = this.base.content()
    const files = [CONFIG, WEIGHTS].map(name => ({ path: resolve(this.directory, name), name }))
    return { files: [...base.files, ...files], made: JSON.stringify({ peft: base.made ?? '' }) }
  }

  /** How many tensors the adapters change. */
  get changed(): number {
    return this.#changes.size
  }

  entry(name: string): TensorInfo {
    return this.tensors.get(name) ?? this.base.entry(name)
  }

  shape(name: string): readonly number[] {
    return this.entry(name).shape
  }

  bytes(name: string, first = 0, count?: number): Uint8Array<ArrayBuffer> {
    const change = this.#changes.get(name)
    if (!change) return this.base.bytes(name, first, count)
    if ('replaces' in change) return this.adapter.bytes(change.replaces, first, count)
    if (this.#last?.name !== name) this.#last = { name, bytes: this.#merge(name, change) }
    const width = DTYPE_BYTES.F32
    const end = first + (count ?? elementCount(this.shape(name)) - first)
    return this.#last.bytes.slice(first * width, end * width)
  }

  float32(name: string, first = 0, count?: number): Float32Array {
    return toFloat32(this.entry(name).dtype, this.bytes(name, first, count))
  }

  samplePlaces(name: string, count: number): readonly number[] {
    return this.base.samplePlaces(name, count)
  }

  close(): void {
    this.adapter.close()
    this.base.close()
  }

  #changed(name: string, { shape }: TensorInfo): TensorInfo {
    const change = this.#changes.get(name)!
    return 'replaces' in change ? this.adapter.entry(change.replaces) : { dtype: 'F32', shape }
  }

  #merge(name: string, { a, b, rank, scale }: Extract<Change, { a: string }>): Uint8Array<ArrayBuffer> {
    const weight = merged(this.base.float32(name), this.adapter.float32(b), this.adapter.float32(a), {
      rank,
      scale,
    })
    return new Uint8Array(weight.buffer)
  }
}
