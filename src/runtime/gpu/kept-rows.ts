import { mix, sameBytes, sampledKey } from '../../sampled-key.js'
import type { PerceiveRow } from '../runtime.js'

/** A place of the session's store, for the keys and values of one row. */
interface Place {
  readonly number: number
  key: number
  /** Whose they are; undefined while they are nobody's. */
  row: PerceiveRow | undefined
  /** Batches that read it, and the one that fills it. */
  users: number
}

/** Where a row's keys and values come from: a place of the store, or perceiving it as the row `fresh` of the batch. */
type Source = { readonly place: Place } | { readonly fresh: number }

/** What a batch shares with those before it, and its rows with each other. Its places stay as they are until `release`. */
export interface SharedRows {
  /** Rows that have to be perceived, each different. */
  readonly fresh: readonly PerceiveRow[]
  /** As `NativePerceive.keep`, of the fresh rows. */
  readonly keep: Int32Array
  /** Pairs as in `NativeAct.rows`, when the fresh rows lie in `slot`. */
  rowsIn(slot: number, store: number): number[]
  /** The fresh rows were perceived, and are where `keep` says. */
  perceived(): void
  /** The batch has been denoised or given up. */
  release(): void
}

/**
 * Which rows' keys and values the session keeps: a row whose images, masks and tokens are the same bytes as a kept one's has
 * the same ones, bit for bit, whatever robot it comes from. The place that was used least recently is filled next, unless a batch
 * uses it.
 */
export class KeptRows {
  /** The one used last is last. */
  readonly #places: Place[]

  constructor(count: number) {
    this.#places = Array.from({ length: count }, (_, number) => ({
      number,
      key: 0,
      row: undefined,
      users: 0,
    }))
  }

  share(rows: readonly PerceiveRow[]): SharedRows {
    const sources: Source[] = []
    const fresh: PerceiveRow[] = []
    const keys: number[] = []
    const used: Place[] = []
    for (const row of rows) {
      const key = keyOf(row)
      const place = this.#places.find(one => one.key === key && one.row && sameRow(one.row, row))
      const twin = place ? -1 : keys.findIndex((other, at) => other === key && sameRow(fresh[at]!, row))
      if (place) used.push(this.#use(place))
      sources.push(place ? { place } : { fresh: twin < 0 ? fresh.length : twin })
      if (place || twin >= 0) continue
      fresh.push(row)
      keys.push(key)
    }
    // After all looks: what one row finds, another must not take.
    const filled = fresh.map(() => this.#take())
    return {
      fresh,
      keep: Int32Array.from(filled, place => place?.number ?? -1),
      rowsIn: (slot, store) =>
        sources.flatMap(source => ('place' in source ? [store, source.place.number] : [slot, source.fresh])),
      perceived: () => {
        for (const [at, place] of filled.entries())
          if (place) Object.assign(place, { key: keys[at]!, row: fresh[at]! })
        letGo(filled)
      },
      release: () => {
        letGo(filled)
        letGo(used)
      },
    }
  }

  #use(place: Place): Place {
    this.#places.splice(this.#places.indexOf(place), 1)
    this.#places.push(place)
    place.users += 1
    return place
  }

  /** The place to be filled next, emptied; undefined when all are in use. */
  #take(): Place | undefined {
    const place = this.#places.find(({ users }) => users === 0)
    if (!place) return undefined
    place.row = undefined
    return this.#use(place)
  }
}

/** Idempotent. */
function letGo(places: (Place | undefined)[]): void {
  for (const place of places) if (place) place.users -= 1
  places.length = 0
}

function keyOf({ images, tokens }: PerceiveRow): number {
  let key = tokens.length
  for (const token of tokens) key = mix(key, token)
  for (const image of images) key = mix(key, image ? sampledKey(image) : -1)
  return key
}

const sameRow = (a: PerceiveRow, b: PerceiveRow): boolean =>
  sameBytes(a.tokens, b.tokens) &&
  a.images.length === b.images.length &&
  a.images.every((image, slot) => {
    const other = b.images[slot]
    return image && other ? sameBytes(image, other) : image === other
  })
