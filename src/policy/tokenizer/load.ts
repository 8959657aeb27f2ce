import { readTokenizer, type TokenizerFile } from './read.js'
import { SentencePieceTokenizer } from './sentencepiece.js'
import type { Tokenizer } from './tokenizer.js'
import { TokenizerJsonTokenizer } from './tokenizer-json.js'

/** Reads a SentencePiece `.model` or a Hugging Face `tokenizer.json`. Throws TOKENIZER_INVALID. */
export const loadTokenizer = (path: string): Tokenizer => tokenizerOf(readTokenizer(path))

export const tokenizerOf = ({ tables }: TokenizerFile): Tokenizer =>
  tables.kind === 'sentencepiece' ? new SentencePieceTokenizer(tables) : new TokenizerJsonTokenizer(tables)
