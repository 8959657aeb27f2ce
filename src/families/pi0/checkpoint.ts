import { TurboPiError } from '../../errors.js'
import type { Content } from '../../storage/content.js'
import type { StoredTensors, TensorStore } from '../../storage/tensor-source.js'
import type { ModelConfig } from './config.js'
import { openTensors } from './open-tensors.js'
import { canonicalName, EMBEDDING, expectedTensors, TIED_EMBEDDING, UNUSED } from './tensors.js'

/** The tensors of one network, by canonical name, whatever layout their file has. */
export class Checkpoint implements StoredTensors {
  private constructor(
    private readonly store: TensorStore,
    /** Canonical name to the name in the file. */
    private readonly names: ReadonlyMap<string, string>,
  ) {}

  /**
   * Opens a checkpoint, with the adapters of a PEFT folder laid over it, and checks it against the config: no tensor may be
   * missing, unknown or of another shape. Throws CHECKPOINT_INVALID. Close it when done.
   */
  static open(path: string, config: ModelConfig, adapterPath?: string): Checkpoint {
    const store = openTensors(path, adapterPath)
    try {
      return new Checkpoint(store, resolveNames(store, config))
    } catch (error) {
      store.close()
      throw error
    }
  }

  shape(name: string): readonly number[] {
    return this.store.entry(this.names.get(name) ?? name).shape
  }

  float32(name: string, first = 0, count?: number): Float32Array {
    return this.store.float32(this.names.get(name) ?? name, first, count)
  }

  content(): Content {
    return this.store.content()
  }

  close(): void {
    this.store.close()
  }
}

function resolveNames(store: TensorStore, config: ModelConfig): Map<string, string> {
  const names = new Map<string, string>()
  for (const inFile of store.tensors.keys()) {
    const name = canonicalName(inFile)
    const other = names.get(name)
    if (other)
      throw refuse(store.path, `tensors ${other} and ${inFile} are the same weight; expected one of them`)
    names.set(name, inFile)
  }
  const tied = names.get(TIED_EMBEDDING)
  if (!names.has(EMBEDDING) && tied) names.set(EMBEDDING, tied)

  const expected = expectedTensors(config)
  const missing = [...expected.keys()].filter(name => !names.has(name))
  if (missing.length)
    throw refuse(
      store.path,
      `${missing.length} of ${expected.size} tensors of a ${config.modelType} model are missing: ${list(missing)}`,
    )
  const extra = [...names.keys()].filter(name => !expected.has(name) && !UNUSED.has(name))
  if (extra.length)
    throw refuse(
      store.path,
      `${extra.length} tensors do not belong to a ${config.modelType} model of this config: ${list(extra)}`,
    )
  for (const [name, shape] of expected) checkTensor(store, names.get(name)!, shape)
  return names
}

const WEIGHT_DTYPES: readonly string[] = ['F64', 'F32', 'F16', 'BF16']

function checkTensor(store: TensorStore, name: string, expected: readonly number[]): void {
  const { dtype, shape } = store.entry(name)
  if (!WEIGHT_DTYPES.includes(dtype))
    throw refuse(store.path, `tensor ${name} has dtype ${dtype}; expected one of ${WEIGHT_DTYPES.join(', ')}`)
  if (shape.length !== expected.length || shape.some((size, axis) => size !== expected[axis]))
    throw refuse(
      store.path,
      `tensor ${name} has shape [${shape.join(', ')}], the config asks for [${expected.join(', ')}]`,
    )
}

const list = (names: readonly string[]) =>
  names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '')

const refuse = (path: string, detail: string) => new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`)
