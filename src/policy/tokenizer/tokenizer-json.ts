import { TurboPiError } from '../../errors.js'
import { byteToken, mergePairs } from './bpe.js'
import { compileNormaliser } from './normaliser.js'
import { PairRanks, type PairTables } from './pair-ranks.js'
import { PrefixMatcher } from './prefix-matcher.js'
import type { Tokenizer } from './tokenizer.js'
import { type NormaliserJson, parseTokenizerJson } from './tokenizer-json-schema.js'
import { Vocabulary, type VocabularyTables } from './vocabulary.js'
import { splitsAtWords, WordEncoder } from './words.js'

/** What a tokenizer needs of a `tokenizer.json`. */
export interface TokenizerJsonTables {
  readonly kind: 'tokenizer.json'
  readonly vocabulary: VocabularyTables
  /** Ranks of the merges. */
  readonly merges: PairTables
  readonly normalizer: NormaliserJson | null | undefined
  /** Added tokens that are read from text. */
  readonly added: readonly (readonly [text: string, id: number])[]
  readonly vocabSize: number
  readonly textVocabSize: number
  readonly bosId: number
  /** Ids of the 256 byte tokens; a vocabulary may lack those of bytes that are pieces of their own. */
  readonly byteIds: readonly (number | undefined)[]
  readonly unknownId: number
  readonly fuseUnknown: boolean
  readonly splits: boolean
}

const refusal = (name: string) => (detail: string) =>
  new TurboPiError('TOKENIZER_INVALID', `${name}: ${detail}`)

/** Reads and checks the text of a `tokenizer.json`. `name` is the file, for messages. Throws TOKENIZER_INVALID for what it does not know. */
export function readTokenizerJson(text: string, name: string): TokenizerJsonTables {
  const refuse = refusal(name)
  const { model, added_tokens: tokens = [], normalizer } = parseTokenizerJson(text, refuse)
  const pieces = Object.entries(model.vocab)
  const vocabulary = Vocabulary.of(pieces)
  compileNormaliser(normalizer, refuse)

  const added = tokens.filter(token => !token.special).map(({ content, id }) => [content, id] as const)
  const textVocabSize = Math.max(endOf(pieces), endOf(added))
  const bos = tokens.find(token => token.content === '<bos>' || token.content === '<s>')
  const bosId = bos?.id ?? vocabulary.get('<bos>') ?? vocabulary.get('<s>')
  if (bosId === undefined) throw refuse('there is no begin-of-sequence token (<bos> or <s>).')

  const merges = PairRanks.for(model.merges.length)
  model.merges.forEach((merge, rank) => {
    const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge
    const [leftId, rightId] = [vocabulary.get(left ?? ''), vocabulary.get(right ?? '')]
    if (leftId === undefined || rightId === undefined || !vocabulary.has(`${left}${right}`))
      throw refuse(`merge ${rank} (${JSON.stringify(merge)}) uses a piece that is not in the vocabulary.`)
    merges.set(leftId, rightId, rank)
  })
  const unknownId = vocabulary.get(model.unk_token ?? '')
  if (unknownId === undefined) throw refuse('the model has no unknown token.')
  return {
    kind: 'tokenizer.json',
    vocabulary: vocabulary.tables,
    merges: merges.tables,
    normalizer,
    added,
    vocabSize: Math.max(textVocabSize, endOf(tokens.map(({ content, id }) => [content, id] as const))),
    textVocabSize,
    bosId,
    byteIds: Array.from({ length: model.byte_fallback ? 256 : 0 }, (_, byte) =>
      vocabulary.get(byteToken(byte)),
    ),
    unknownId,
    fuseUnknown: model.fuse_unk ?? false,
    splits: splitsAtWords(Object.keys(model.vocab)),
  }
}

/**
 * Byte-fallback BPE from a `tokenizer.json`, such as Gemma's. Tokens marked special (<bos>, <image> …) are never read
 * from text, as in SentencePiece; other added tokens are.
 */
export class TokenizerJsonTokenizer implements Tokenizer {
  readonly vocabSize: number
  readonly textVocabSize: number
  readonly bosId: number
  readonly #tables: TokenizerJsonTables
  readonly #vocabulary: Vocabulary
  readonly #merges: PairRanks
  readonly #replacements: (text: string) => string
  readonly #added: PrefixMatcher
  readonly #addedIds: ReadonlyMap<string, number>
  readonly #words: WordEncoder

  constructor(tables: TokenizerJsonTables) {
    this.#tables = tables
    this.vocabSize = tables.vocabSize
    this.textVocabSize = tables.textVocabSize
    this.bosId = tables.bosId
    this.#vocabulary = new Vocabulary(tables.vocabulary)
    this.#merges = new PairRanks(tables.merges)
    this.#replacements = compileNormaliser(tables.normalizer, refusal('tokenizer.json'))
    this.#addedIds = new Map(tables.added)
    this.#added = new PrefixMatcher(this.#addedIds.keys())
    this.#words = new WordEncoder(tables.splits, word => this.#encodeWord(word))
  }

  encode(text: string): number[] {
    const points = Array.from(text.toWellFormed())
    const ids: number[] = []
    let plain = ''
    for (let at = 0; at < points.length; ) {
      const length = this.#added.longest(points, at)
      if (length > 0) {
        this.#encodePlain(plain, ids)
        plain = ''
        ids.push(this.#addedIds.get(points.slice(at, at + length).join('')) as number)
      } else plain += points[at]
      at += length || 1
    }
    this.#encodePlain(plain, ids)
    return ids
  }

  #encodePlain(text: string, ids: number[]): void {
    const { fuseUnknown, unknownId } = this.#tables
    for (const word of this.#words.words(this.#replacements(text))) {
      const fused = fuseUnknown && word[0] === unknownId && ids.at(-1) === unknownId
      ids.push(...(fused ? word.slice(1) : word))
    }
  }

  #encodeWord(word: string): number[] {
    const ids: number[] = []
    const pieces = Array.from(word)
    const frozen = pieces.map(piece => !this.#vocabulary.has(piece))
    const merged = mergePairs({ pieces, frozen }, (left, right) => {
      const [leftId, rightId] = [this.#vocabulary.get(left), this.#vocabulary.get(right)]
      return leftId === undefined || rightId === undefined ? undefined : this.#merges.get(leftId, rightId)
    })
    for (const piece of merged) {
      const id = this.#vocabulary.get(piece)
      if (id !== undefined) ids.push(id)
      else this.#pushUnknown(piece, ids)
    }
    return ids
  }

  /** Bytes of a character that is no piece, or the unknown token when the vocabulary lacks one of them. */
  #pushUnknown(piece: string, ids: number[]): void {
    const { byteIds, fuseUnknown, unknownId } = this.#tables
    const bytes = Array.from(Buffer.from(piece), byte => byteIds[byte])
    if (bytes.every(id => id !== undefined)) ids.push(...bytes)
    else if (!fuseUnknown || ids.at(-1) !== unknownId) ids.push(unknownId)
  }
}

/** One past the largest id. */
const endOf = (pieces: readonly (readonly [text: string, id: number])[]) =>
  pieces.reduce((end, [, id]) => Math.max(end, id + 1), 0)
