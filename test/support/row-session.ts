import { tokensPerImage } from '../../src/families/pi0/config.js'
import type { NativeAct, NativePerceive, NativeSession, NativeShape } from '../../src/runtime/gpu/addon.js'
import { tinyModel } from './fake-runtime.js'

const job = <T>(work: () => T) => ({ job: 1, promise: Promise.resolve().then(work) })

/**
 * A session of the addon that computes sums instead of a network: the keys and values of a row are one number, made of its
 * pictures' first bytes, of whether it has pictures and of its tokens, and its actions are that and its noise. It takes what
 * the addon takes, and refuses a slot or a place that was not filled.
 */
export class RowSession implements NativeSession {
  readonly shape: NativeShape
  readonly perceived: NativePerceive[] = []
  readonly acts: NativeAct[] = []
  /** What the next perceive fails with. */
  failure: Error | undefined
  closed = false
  readonly #slots: number[][]

  constructor(
    readonly slots: number,
    { joins, maxBatch = 8 }: { joins: boolean; maxBatch?: number },
  ) {
    this.#slots = Array.from({ length: slots + 1 }, () => [])
    this.shape = {
      ...{ imageTokens: tokensPerImage(tinyModel), headDim: 8, kvHeads: 1, layers: 1, modulation: 1 },
      ...{ horizon: 2, actionDim: 3, state: false, given: false, joins, maxBatch },
      ...{ maxImages: maxBatch, maxPrefix: 64, tokenBuckets: [8] },
    }
  }

  perceive(input: NativePerceive) {
    this.perceived.push(input)
    return job(() => {
      if (this.failure) throw this.failure
      const rows = Array.from({ length: input.batch }, (_, row) => rowValue(input, row))
      this.#slots[input.slot] = rows
      for (const [row, place] of (input.keep ?? []).entries())
        if (place >= 0) this.#slots[this.slots]![place] = rows[row]!
      return { visionMs: 2, prefixMs: 3 }
    })
  }

  act(input: NativeAct) {
    this.acts.push(input)
    return job(() => {
      const { batch, rows, noise, state } = input
      const size = noise.length / batch
      const values = Array.from({ length: batch }, (_, row) => {
        const value = this.#slots[rows[2 * row]!]?.[rows[2 * row + 1]!]
        if (value === undefined) throw new Error(`row ${row} names nothing that was perceived`)
        return value + (state.length > 0 ? 1000 * state[row * 3]! : 0)
      })
      const actions = noise.map((number, at) => number + values[Math.floor(at / size)]!)
      return { actions, denoiseMs: 4 }
    })
  }

  setModulation() {
    return job(() => {})
  }

  trace(): never {
    throw new Error('it has no intermediate tensors')
  }

  cancel(): boolean {
    return false
  }

  async close(): Promise<void> {
    this.closed = true
  }
}

function rowValue(
  { batch, prefixLength, imageCount, images, tokens, source, lengths }: NativePerceive,
  row: number,
) {
  const perImage = tokensPerImage(tinyModel)
  const imageBytes = images.length / imageCount
  let value = 0
  for (let place = 0; place < Number(lengths[row]); place++) {
    const from = Number(source[row * prefixLength + place])
    value +=
      from < imageCount * perImage
        ? 0.25 + images[Math.floor(from / perImage) * imageBytes]!
        : Number(tokens[from - imageCount * perImage])
  }
  if (row >= batch) throw new Error(`no row ${row}`)
  return value
}
