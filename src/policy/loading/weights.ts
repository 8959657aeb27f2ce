import { TurboPiError } from '../../errors.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import { canonicalName, EMBEDDING, expectedTensors } from '../../families/pi0/tensors.js'
import type { Dtype } from '../../storage/dtype.js'
import type { Safetensors } from '../../storage/safetensors.js'

const TIED_EMBEDDING = 'paligemma_with_expert.paligemma.lm_head.weight'

/** Elements of one read. */
const WINDOW = 1 << 20
/** A sampled tensor is read in this many windows of this many elements. */
const SAMPLES = 4
const SAMPLE = 4096

const refuse = (detail: string) => new TurboPiError('CHECKPOINT_INVALID', detail)

/** First elements of the windows to read of a tensor. */
function* windows(count: number, deep: boolean): Generator<[first: number, count: number]> {
  if (deep || count <= SAMPLES * SAMPLE)
    for (let first = 0; first < count; first += WINDOW) yield [first, Math.min(WINDOW, count - first)]
  else for (let i = 0; i < SAMPLES; i++) yield [Math.floor(((count - SAMPLE) * i) / (SAMPLES - 1)), SAMPLE]
}

/** Others are refused by the check of the tensors. */
const FLOATS: readonly Dtype[] = ['F64', 'F32', 'BF16', 'F16']

/** Bits of the exponent; all of them set means NaN or infinity. */
const EXPONENT_BITS: Partial<Record<Dtype, number>> = { F32: 0x7f800000, BF16: 0x7f80, F16: 0x7c00 }

/** Index of the first element that is not finite, or −1. Looks at the bits: --deep has billions of elements. */
function firstNotFinite(dtype: Dtype, bytes: Uint8Array<ArrayBuffer>): number {
  const bits = EXPONENT_BITS[dtype]
  if (bits === undefined) return new Float64Array(bytes.buffer).findIndex(value => !Number.isFinite(value))
  const words = dtype === 'F32' ? new Uint32Array(bytes.buffer) : new Uint16Array(bytes.buffer)
  for (let i = 0; i < words.length; i++) if (((words[i] as number) & bits) === bits) return i
  return -1
}

const elements = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1)

/**
 * Refuses weights that hold NaN or infinity: in samples of every tensor that the network uses, or in all of it when
 * `deep`. Gives the number of elements looked at. Throws CHECKPOINT_INVALID with the tensor and the place.
 */
export function checkFinite(store: Safetensors, model: ModelConfig, deep: boolean): number {
  const used = expectedTensors(model)
  let seen = 0
  for (const [name, { dtype, shape }] of store.tensors) {
    const canonical = canonicalName(name)
    if ((!used.has(canonical) && canonical !== TIED_EMBEDDING) || !FLOATS.includes(dtype)) continue
    for (const [first, count] of windows(elements(shape), deep)) {
      const bad = firstNotFinite(dtype, store.bytes(name, first, count))
      if (bad >= 0)
        throw refuse(
          `${store.path}: tensor ${name} holds a value that is not finite at element ${first + bad}. The checkpoint is damaged or its training diverged: take another one.`,
        )
      seen += count
    }
  }
  return seen
}

/**
 * openpi ties the token embedding to `lm_head`; LeRobot's files carry both, untied, and the embedding counts. Two different
 * ones in an openpi file mean that nobody can say which one was trained. Throws CHECKPOINT_INVALID.
 */
export function checkEmbeddings(store: Safetensors, lerobot: boolean, deep: boolean): string {
  const byName = new Map([...store.tensors.keys()].map(name => [canonicalName(name), name]))
  const [embedding, head] = [byName.get(EMBEDDING), byName.get(TIED_EMBEDDING)]
  if (!embedding) return `tied: ${head}`
  if (!head) return embedding
  if (lerobot || embedding.startsWith('model.')) return `untied, as LeRobot saves them: ${embedding}`
  const shape = store.entry(embedding).shape
  const sameShape = elements(shape) === elements(store.entry(head).shape)
  for (const [first, count] of sameShape ? windows(elements(shape), deep) : []) {
    const other = store.float32(head, first, count)
    if (store.float32(embedding, first, count).every((value, i) => value === other[i])) continue
    throw refuse(
      `${store.path}: ${embedding} and ${head} differ, but openpi ties them. The file was not written by its converter as it is: remove the one that was not trained.`,
    )
  }
  if (!sameShape)
    throw refuse(`${store.path}: ${embedding} and ${head} have different shapes, but openpi ties them.`)
  return `tied: ${embedding}`
}
