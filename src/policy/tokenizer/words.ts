import { LRUCache } from 'lru-cache'

/** What SentencePiece writes for a space. */
export const SPACE = '\u2581'

/** Words whose ids are kept: prompts repeat theirs, and a state has at most 257 different numbers. */
const KEPT_WORDS = 4096
/** Longer ones are no words. */
const KEPT_LENGTH = 64

/**
 * Encodes normalised text word by word and keeps what words became, since a robot's prompts differ in a few numbers
 * alone. A word begins with a space. Where no piece reaches from a word into the next, nothing merges across, so that
 * the ids are those of the whole text; where one does, the text is not split.
 */
export class WordEncoder {
  readonly #kept = new LRUCache<string, readonly number[]>({ max: KEPT_WORDS })

  /** `splits`: see `splitsAtWords`; `encode` gives the ids of a text. */
  constructor(
    private readonly splits: boolean,
    private readonly encode: (text: string) => readonly number[],
  ) {}

  /** The ids of each word, in order. */
  words(text: string): (readonly number[])[] {
    if (!this.splits) return [this.encode(text)]
    const words: (readonly number[])[] = []
    for (let start = 0; start < text.length; ) {
      const end = nextWord(text, start)
      words.push(this.#word(text.slice(start, end)))
      start = end
    }
    return words
  }

  #word(word: string): readonly number[] {
    if (word.length > KEPT_LENGTH) return this.encode(word)
    const kept = this.#kept.get(word)
    if (kept) return kept
    const ids = this.encode(word)
    this.#kept.set(word, ids)
    return ids
  }
}

/** Whether no piece, of all that text may become, reaches from a word into the next. */
export function splitsAtWords(pieces: Iterable<string>): boolean {
  for (const piece of pieces) if (nextWord(piece, 0) !== piece.length) return false
  return true
}

/** Where the next word begins: at the first space that follows something else. */
function nextWord(text: string, start: number): number {
  let at = start
  while (text[at] === SPACE) at++
  const next = text.indexOf(SPACE, at)
  return next < 0 ? text.length : next
}
