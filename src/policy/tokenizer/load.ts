import { readGivenFile } from '../../storage/given-file.js'
import { SentencePieceTokenizer } from './sentencepiece.js'
import type { Tokenizer } from './tokenizer.js'
import { TokenizerJsonTokenizer } from './tokenizer-json.js'

/** The largest vocabularies take some 40 MB as JSON. */
const MAX_BYTES = 2 ** 28

/** Reads a SentencePiece `.model` or a Hugging Face `tokenizer.json`. Throws TOKENIZER_INVALID. */
export function loadTokenizer(path: string): Tokenizer {
  const bytes = readGivenFile(path, 'TOKENIZER_INVALID', MAX_BYTES)
  return path.endsWith('.json')
    ? new TokenizerJsonTokenizer(bytes.toString('utf8'), path)
    : new SentencePieceTokenizer(bytes, path)
}
