import { readFileSync } from 'node:fs'
import { reasonOf, TurboPiError } from '../../errors.js'
import { SentencePieceTokenizer } from './sentencepiece.js'
import type { Tokenizer } from './tokenizer.js'
import { TokenizerJsonTokenizer } from './tokenizer-json.js'

/** Reads a SentencePiece `.model` or a Hugging Face `tokenizer.json`. Throws TOKENIZER_INVALID. */
export function loadTokenizer(path: string): Tokenizer {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new TurboPiError('TOKENIZER_INVALID', `${path}: cannot be read: ${reasonOf(error)}`)
  }
  return path.endsWith('.json')
    ? new TokenizerJsonTokenizer(bytes.toString('utf8'), path)
    : new SentencePieceTokenizer(bytes, path)
}
