import { TurboPiError } from '../../errors.js'
import { canonicalName, EMBEDDING, TIED_EMBEDDING, UNUSED } from '../../families/pi0/tensors.js'
import { DTYPE_BYTES, type Dtype } from '../../storage/dtype.js'
import { elementCount } from '../../storage/safetensors.js'
import type { TensorStore } from '../../storage/tensor-source.js'
import { Values } from './values.js'

/** Elements of one read. */
const WINDOW = 1 << 20
/** Elements of a sample, and of what is read whole even then. */
const SAMPLE = 4096
const SMALL = 4 * SAMPLE

const refuse = (detail: string) => new TurboPiError('CHECKPOINT_INVALID', detail)

/** Windows to read of a tensor: all of it, or samples where reading them is cheap. */
function* windows(
  store: TensorStore,
  name: string,
  deep: boolean,
): Generator<[first: number, count: number]> {
  const count = elementCount(store.shape(name))
  if (deep || count <= SMALL)
    for (let first = 0; first < count; first += WINDOW) yield [first, Math.min(WINDOW, count - first)]
  else for (const first of store.samplePlaces(name, SAMPLE)) yield [first, Math.min(SAMPLE, count - first)]
}

/** Others are refused by the check of the tensors. */
const FLOATS: readonly Dtype[] = ['F64', 'F32', 'BF16', 'F16']

/** Tensors of a file that the network does not use; the embedding may stand under the output layer's name. */
const isUnused = (name: string) => {
  const canonical = canonicalName(name)
  return UNUSED.has(canonical) && canonical !== TIED_EMBEDDING
}

/**
 * Refuses weights that no training leaves: NaN, infinity, absurd values, matrices of zeros and holes in them. Looks at
 * samples of every tensor, or at all of it when `deep`. `onRead` hears bytes read and in all. Gives the number of elements
 * looked at. Throws CHECKPOINT_INVALID with the tensor and the place.
 */
export function checkValues(
  stores: readonly TensorStore[],
  deep: boolean,
  onRead: (done: number, total: number) => void = () => {},
): number {
  const tensors = stores.flatMap(store =>
    [...store.tensors].flatMap(([name, { dtype, shape }]) =>
      isUnused(name) || !FLOATS.includes(dtype) ? [] : [{ store, name, dtype, shape }],
    ),
  )
  const total = tensors.reduce((sum, { dtype, shape }) => sum + elementCount(shape) * DTYPE_BYTES[dtype], 0)
  let seen = 0
  let read = 0
  for (const { store, name, dtype, shape } of tensors) {
    const values = new Values(dtype, shape, name)
    for (const [first, count] of windows(store, name, deep)) {
      const bytes = store.bytes(name, first, count)
      const fault = values.faultIn(bytes, first)
      if (fault) throw refuse(`${store.path}: tensor ${name} ${fault}`)
      seen += count
      read += bytes.byteLength
      if (deep) onRead(read, total)
    }
    const fault = values.faultOfAll()
    if (fault) throw refuse(`${store.path}: tensor ${name} ${fault}`)
  }
  return seen
}

/**
 * openpi ties the token embedding to `lm_head`; LeRobot's files carry both, untied, and the embedding counts. Two different
 * ones in an openpi file mean that nobody can say which one was trained. Throws CHECKPOINT_INVALID.
 */
export function checkEmbeddings(store: TensorStore, lerobot: boolean, deep: boolean): string {
  const byName = new Map([...store.tensors.keys()].map(name => [canonicalName(name), name]))
  const [embedding, head] = [byName.get(EMBEDDING), byName.get(TIED_EMBEDDING)]
  if (!embedding) return `tied: ${head}`
  if (!head) return embedding
  if (lerobot || embedding.startsWith('model.')) return `untied, as LeRobot saves them: ${embedding}`
  const sameShape = elementCount(store.shape(embedding)) === elementCount(store.shape(head))
  for (const [first, count] of sameShape ? windows(store, embedding, deep) : []) {
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
