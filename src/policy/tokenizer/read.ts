import { sha256 } from '../../storage/content.js'
import { readGivenFile } from '../../storage/given-file.js'
import { readSentencePiece, type SentencePieceTables } from './sentencepiece.js'
import { readTokenizerJson, type TokenizerJsonTables } from './tokenizer-json.js'

/** The largest vocabularies take some 40 MB as JSON. */
const MAX_BYTES = 2 ** 28

/** A tokenizer's file as it has been read: passes from one thread to another. */
export interface TokenizerFile {
  tables: SentencePieceTables | TokenizerJsonTables
  /** SHA-256 of the file, in hexadecimal. */
  digest: string
}

/** Reads a SentencePiece `.model` or a Hugging Face `tokenizer.json`. Throws TOKENIZER_INVALID. */
export function readTokenizer(path: string): TokenizerFile {
  const bytes = readGivenFile(path, 'TOKENIZER_INVALID', MAX_BYTES)
  const tables = path.endsWith('.json')
    ? readTokenizerJson(bytes.toString('utf8'), path)
    : readSentencePiece(bytes, path)
  return { tables, digest: sha256(bytes) }
}
