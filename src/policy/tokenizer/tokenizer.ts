/** Turns text into token ids. */
export interface Tokenizer {
  /** All ids are below this. */
  readonly vocabSize: number
  /** Ids that text can become are below this; special tokens may lie above. */
  readonly textVocabSize: number
  /** Begin-of-sequence token. */
  readonly bosId: number
  /** Ids of `text` alone, without BOS or EOS; control tokens are never read from text. */
  encode(text: string): number[]
}
