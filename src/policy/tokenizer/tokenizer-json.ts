import { TurboPiError } from '../../errors.js'
import { byteToken, mergePairs } from './bpe.js'
import { compileNormaliser } from './normaliser.js'
import { PrefixMatcher } from './prefix-matcher.js'
import type { Tokenizer } from './tokenizer.js'
import { parseTokenizerJson } from './tokenizer-json-schema.js'
import { WordEncoder } from './words.js'

/**
 * Byte-fallback BPE from a `tokenizer.json`, such as Gemma's. Tokens marked special (<bos>, <image> …) are never read
 * from text, as in SentencePiece; other added tokens are.
 */
export class TokenizerJsonTokenizer implements Tokenizer {
  readonly vocabSize: number
  readonly textVocabSize: number
  readonly bosId: number
  readonly #vocab: Map<string, number>
  /** leftId · 2²¹ + rightId to the rank of the merge. */
  readonly #ranks = new Map<number, number>()
  readonly #replacements: (text: string) => string
  readonly #added: PrefixMatcher
  readonly #addedIds: Map<string, number>
  /** Ids of the 256 byte tokens; a vocabulary may lack those of bytes that are pieces of their own. */
  readonly #byteIds: readonly (number | undefined)[]
  readonly #unknownId: number
  readonly #fuseUnknown: boolean
  readonly #words: WordEncoder

  /** `name` is the file, for messages. Throws TOKENIZER_INVALID for what it does not know. */
  constructor(text: string, name: string) {
    const refuse = (detail: string) => new TurboPiError('TOKENIZER_INVALID', `${name}: ${detail}`)
    const json = parseTokenizerJson(text, refuse)
    const { model, added_tokens: added = [] } = json
    this.#vocab = new Map(Object.entries(model.vocab))
    this.#replacements = compileNormaliser(json.normalizer, refuse)

    const readable = added.filter(token => !token.special)
    this.#addedIds = new Map(readable.map(token => [token.content, token.id]))
    this.#added = new PrefixMatcher(this.#addedIds.keys())
    const ids = [...this.#vocab.values(), ...this.#addedIds.values()]
    this.textVocabSize = endOf(ids)
    this.vocabSize = Math.max(this.textVocabSize, endOf(added.map(token => token.id)))
    const bos = added.find(token => token.content === '<bos>' || token.content === '<s>')
    const bosId = bos?.id ?? this.#vocab.get('<bos>') ?? this.#vocab.get('<s>')
    if (bosId === undefined) throw refuse('there is no begin-of-sequence token (<bos> or <s>).')
    this.bosId = bosId

    model.merges.forEach((merge, rank) => {
      const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge
      const [leftId, rightId] = [this.#vocab.get(left ?? ''), this.#vocab.get(right ?? '')]
      if (leftId === undefined || rightId === undefined || !this.#vocab.has(`${left}${right}`))
        throw refuse(`merge ${rank} (${JSON.stringify(merge)}) uses a piece that is not in the vocabulary.`)
      this.#ranks.set(pairKey(leftId, rightId), rank)
    })
    this.#byteIds = Array.from({ length: model.byte_fallback ? 256 : 0 }, (_, byte) =>
      this.#vocab.get(byteToken(byte)),
    )
    this.#fuseUnknown = model.fuse_unk ?? false
    const unknownId = this.#vocab.get(model.unk_token ?? '')
    if (unknownId === undefined) throw refuse('the model has no unknown token.')
    this.#unknownId = unknownId
    this.#words = new WordEncoder(this.#vocab.keys(), word => this.#encodeWord(word))
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
    for (const word of this.#words.words(this.#replacements(text))) {
      const fused = this.#fuseUnknown && word[0] === this.#unknownId && ids.at(-1) === this.#unknownId
      ids.push(...(fused ? word.slice(1) : word))
    }
  }

  #encodeWord(word: string): number[] {
    const ids: number[] = []
    const pieces = Array.from(word)
    const frozen = pieces.map(piece => !this.#vocab.has(piece))
    const merged = mergePairs({ pieces, frozen }, (left, right) => {
      const [leftId, rightId] = [this.#vocab.get(left), this.#vocab.get(right)]
      return leftId === undefined || rightId === undefined
        ? undefined
        : this.#ranks.get(pairKey(leftId, rightId))
    })
    for (const piece of merged) {
      const id = this.#vocab.get(piece)
      if (id !== undefined) ids.push(id)
      else this.#pushUnknown(piece, ids)
    }
    return ids
  }

  /** Bytes of a character that is no piece, or the unknown token when the vocabulary lacks one of them. */
  #pushUnknown(piece: string, ids: number[]): void {
    const bytes = Array.from(Buffer.from(piece), byte => this.#byteIds[byte])
    if (bytes.every(id => id !== undefined)) ids.push(...bytes)
    else if (!this.#fuseUnknown || ids.at(-1) !== this.#unknownId) ids.push(this.#unknownId)
  }
}

/** One past the largest id. */
const endOf = (ids: number[]) => ids.reduce((end, id) => Math.max(end, id + 1), 0)

const pairKey = (left: number, right: number) => left * 2 ** 21 + right
