/** Turns text into token ids. */
export interface Tokenizer {
  /** Ids are below this. */
  readonly vocabSize: number
  /** Begin-of-sequence token. */
  readonly bosId: number
  /** Ids of `text` alone, without BOS or EOS; control tokens are never read from text. */
  encode(text: string): number[]
}
