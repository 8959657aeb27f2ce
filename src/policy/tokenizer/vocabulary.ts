import { randomInt } from 'node:crypto'

/** Pieces of text and their ids in arrays, which pass from one thread to another without being copied. */
export interface VocabularyTables {
  /** UTF-16 of all pieces, one after another. */
  readonly units: Uint16Array
  /** Where each piece ends in `units`. */
  readonly ends: Uint32Array
  readonly ids: Int32Array
  /** An open hash table: one more than the index of a piece, or 0. Its size is a power of two. */
  readonly slots: Int32Array
  /** Of the table's hash: whoever writes a file cannot know which pieces will share a slot. */
  readonly seed: number
}

/** The id of a piece of text. */
export class Vocabulary {
  constructor(readonly tables: VocabularyTables) {}

  /** Of two equal pieces the later one has the say. */
  static of(pieces: readonly (readonly [text: string, id: number])[]): Vocabulary {
    const units = new Uint16Array(pieces.reduce((sum, [text]) => sum + text.length, 0))
    const ends = new Uint32Array(pieces.length)
    const ids = new Int32Array(pieces.length)
    const slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * pieces.length + 1)))
    const vocabulary = new Vocabulary({ units, ends, ids, slots, seed: randomInt(2 ** 32) })
    let end = 0
    pieces.forEach(([text, id], index) => {
      for (let i = 0; i < text.length; i += 1) units[end + i] = text.charCodeAt(i)
      end += text.length
      ends[index] = end
      ids[index] = id
      slots[vocabulary.#slotOf(text)] = index + 1
    })
    return vocabulary
  }

  get(piece: string): number | undefined {
    const { slots, ids } = this.tables
    const entry = slots[this.#slotOf(piece)]!
    return entry === 0 ? undefined : ids[entry - 1]
  }

  has(piece: string): boolean {
    return this.get(piece) !== undefined
  }

  /** The slot that holds the piece, or the free one in which it would be. */
  #slotOf(piece: string): number {
    const { slots, seed } = this.tables
    // FNV-1a on UTF-16.
    let hash = seed
    for (let i = 0; i < piece.length; i += 1) hash = Math.imul(hash ^ piece.charCodeAt(i), 0x01000193)
    let slot = (hash ^ (hash >>> 15)) & (slots.length - 1)
    while (slots[slot] !== 0 && !this.#is(slots[slot]! - 1, piece)) slot = (slot + 1) & (slots.length - 1)
    return slot
  }

  #is(index: number, piece: string): boolean {
    const { units, ends } = this.tables
    const start = index === 0 ? 0 : ends[index - 1]!
    if (ends[index]! - start !== piece.length) return false
    for (let i = 0; i < piece.length; i += 1) if (units[start + i] !== piece.charCodeAt(i)) return false
    return true
  }
}
