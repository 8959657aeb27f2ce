import { NdArray } from './numpy.js'

type Fields = Readonly<Record<string, unknown>>

/** The fields of one observation, and what to do when it is known whether they hold. */
export interface Carried {
  readonly fields: Record<string, unknown>
  /** They could be prepared, pictures and all. */
  proven(): void
  /** One of its pictures could not be decoded: what it brought is not carried over. */
  refused(): void
}

/**
 * The fields that the observations of one connection carry over. A picture is decoded long after the next observation
 * may have come, so there are two records: the newest fields, and those that have been proven. What is refused
 * falls back to what was proven.
 */
export class CarriedFields {
  #newest: Fields = {}
  #proven: Fields = {}
  /** Counts observations: an older one does not take the place of what a newer one has proven. */
  #taken = 0
  #provenAt = 0

  /** `groups`: keys whose value is a record of fields, merged one by one; `observation.images` stands in `observation`. */
  constructor(private readonly groups: readonly string[]) {}

  /** The complete fields of an observation that may leave some out. Nothing is carried over before `keep`. */
  merge(sent: Fields): Record<string, unknown> {
    return this.#merged(this.#newest, sent, '')
  }

  #merged(before: Fields, sent: Fields, inside: string): Record<string, unknown> {
    const fields = { ...before, ...sent }
    for (const [key, now] of Object.entries(sent)) {
      const was = before[key]
      if (this.groups.includes(inside + key) && isRecord(was) && isRecord(now))
        fields[key] = this.#merged(was, now, `${inside}${key}.`)
    }
    return fields
  }

  /** Carries over what `merge` gave. */
  keep(fields: Record<string, unknown>): Carried {
    const number = ++this.#taken
    this.#newest = fields
    return {
      fields,
      proven: () => {
        if (number <= this.#provenAt) return
        this.#provenAt = number
        this.#proven = fields
      },
      refused: () => {
        this.#newest = this.#without(this.#newest, fields, this.#proven, '')
      },
    }
  }

  /** Bytes that are held for them: a field of a MessagePack frame holds the whole frame. */
  get bytes(): number {
    const buffers: ArrayBufferLike[] = []
    let bytes = held(this.#newest, buffers)
    if (this.#proven !== this.#newest) bytes += held(this.#proven, buffers)
    return bytes
  }

  reset(): void {
    this.#newest = {}
    this.#proven = {}
    this.#provenAt = this.#taken
  }

  /** `newest` with each value that it shares with `refused` replaced by the proven one. */
  #without(newest: Fields, refused: Fields, proven: Fields, inside: string): Fields {
    const kept: Record<string, unknown> = {}
    for (const [key, value] of Object.entries(newest)) {
      const [bad, good] = [refused[key], proven[key]]
      if (this.groups.includes(inside + key) && isRecord(value) && isRecord(bad))
        kept[key] = this.#without(value, bad, isRecord(good) ? good : {}, `${inside}${key}.`)
      else if (value !== bad) kept[key] = value
      else if (key in proven) kept[key] = good
    }
    return kept
  }
}

/** `buffers` are those that have been counted already. */
function held(value: unknown, buffers: ArrayBufferLike[]): number {
  if (typeof value === 'string') return value.length
  if (value instanceof Uint8Array) {
    if (buffers.includes(value.buffer)) return 0
    buffers.push(value.buffer)
    return value.buffer.byteLength
  }
  if (value instanceof NdArray) return held(value.data, buffers)
  if (Array.isArray(value)) return 8 * value.length
  let bytes = 0
  if (isRecord(value)) for (const field of Object.values(value)) bytes += held(field, buffers)
  return bytes
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
