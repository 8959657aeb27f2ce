import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { reasonOf, TurboPiError } from '../../errors.js'
import { byteToken, mergePairs } from './bpe.js'
import { PrefixMatcher } from './prefix-matcher.js'
import type { Tokenizer } from './tokenizer.js'
import { Vocabulary, type VocabularyTables } from './vocabulary.js'
import { SPACE, splitsAtWords, WordEncoder } from './words.js'

/** Piece types of SentencePiece's model format. */
const NORMAL = 1
const UNKNOWN = 2
const USER_DEFINED = 4
const UNUSED = 5
const BPE = 2

interface Piece {
  text: string
  score: number
  type: number
}

interface SentencePieceModel {
  pieces: Piece[]
  modelType: number
  bosId: number
  byteFallback: boolean
  normaliser: string
  charsMap: boolean
  dummyPrefix: boolean
  collapseSpaces: boolean
  escapeSpaces: boolean
  spaceAsSuffix: boolean
}

/** What a tokenizer needs of a SentencePiece model. */
export interface SentencePieceTables {
  readonly kind: 'sentencepiece'
  /** Ids of what text may become. */
  readonly vocabulary: VocabularyTables
  /** Score and type of each id. */
  readonly scores: Float64Array
  readonly types: Int32Array
  readonly userDefined: readonly string[]
  /** Of the 256 bytes; none without byte fallback. */
  readonly byteIds: readonly number[]
  readonly vocabSize: number
  readonly bosId: number
  readonly unknownId: number
  readonly dummyPrefix: boolean
  readonly collapseSpaces: boolean
  readonly escapeSpaces: boolean
  readonly splits: boolean
}

/** Reads and checks a SentencePiece BPE from the bytes of a `.model` file. `name` is the file, for messages. Throws TOKENIZER_INVALID. */
export function readSentencePiece(bytes: Uint8Array, name: string): SentencePieceTables {
  const refuse = (detail: string) => new TurboPiError('TOKENIZER_INVALID', `${name}: ${detail}`)
  let model: SentencePieceModel
  try {
    model = readModel(bytes)
  } catch (error) {
    throw refuse(`not a SentencePiece model (${reasonOf(error)}).`)
  }
  const { pieces, bosId, dummyPrefix, collapseSpaces, escapeSpaces } = model
  if (pieces.length === 0) throw refuse('not a SentencePiece model: it has no pieces.')
  const odd = pieces.findIndex(({ score }) => !Number.isFinite(score))
  if (odd >= 0) throw refuse(`the score of piece ${odd} is ${pieces[odd]?.score}; expected a number.`)
  if (model.modelType !== BPE) throw refuse('only BPE models are supported; this one is of another type.')
  if (model.charsMap) throw refuse(`the normaliser "${model.normaliser}" is not supported; only identity is.`)
  if (model.spaceAsSuffix) throw refuse('spaces as suffixes are not supported.')
  if (!(bosId >= 0 && bosId < pieces.length)) throw refuse('the model has no begin-of-sequence token.')
  const unknownId = pieces.findIndex(piece => piece.type === UNKNOWN)
  if (unknownId < 0) throw refuse('the model has no unknown token.')
  const readable = pieces
    .map(({ text, type }, id) => ({ text, type, id }))
    .filter(({ type }) => type === NORMAL || type === USER_DEFINED || type === UNUSED)
  return {
    kind: 'sentencepiece',
    vocabulary: Vocabulary.of(readable.map(({ text, id }) => [text, id])).tables,
    scores: Float64Array.from(pieces, ({ score }) => score),
    types: Int32Array.from(pieces, ({ type }) => type),
    userDefined: pieces.filter(({ type }) => type === USER_DEFINED).map(({ text }) => text),
    byteIds: model.byteFallback ? byteIds(pieces, refuse) : [],
    vocabSize: pieces.length,
    bosId,
    unknownId,
    dummyPrefix,
    collapseSpaces,
    escapeSpaces,
    splits: splitsAtWords(readable.map(({ text }) => text)),
  }
}

function byteIds(pieces: readonly Piece[], refuse: (detail: string) => TurboPiError): number[] {
  const ids = new Map(pieces.map(({ text }, id) => [text, id]))
  return Array.from({ length: 256 }, (_, byte) => {
    const id = ids.get(byteToken(byte))
    if (id === undefined) throw refuse(`byte fallback is on, but ${byteToken(byte)} is missing.`)
    return id
  })
}

/** SentencePiece BPE with byte fallback and user-defined symbols. */
export class SentencePieceTokenizer implements Tokenizer {
  readonly vocabSize: number
  readonly textVocabSize: number
  readonly bosId: number
  readonly #tables: SentencePieceTables
  readonly #vocabulary: Vocabulary
  readonly #userDefined: PrefixMatcher
  readonly #words: WordEncoder

  constructor(tables: SentencePieceTables) {
    this.#tables = tables
    this.vocabSize = tables.vocabSize
    this.textVocabSize = tables.vocabSize
    this.bosId = tables.bosId
    this.#vocabulary = new Vocabulary(tables.vocabulary)
    this.#userDefined = new PrefixMatcher(tables.userDefined)
    this.#words = new WordEncoder(tables.splits, word => this.#encodeWord(word))
  }

  encode(text: string): number[] {
    const { unknownId } = this.#tables
    const ids: number[] = []
    for (const word of this.#words.words(this.#normalise(text))) {
      // Unknown characters that follow each other are one token, also from one word to the next.
      const fused = word[0] === unknownId && ids.at(-1) === unknownId
      for (let i = fused ? 1 : 0; i < word.length; i++) ids.push(word[i] as number)
    }
    return ids
  }

  #encodeWord(word: string): number[] {
    const points = Array.from(word)
    const pieces: string[] = []
    const frozen: boolean[] = []
    for (let at = 0; at < points.length; ) {
      const matched = this.#userDefined.longest(points, at)
      const length = matched || 1
      pieces.push(points.slice(at, at + length).join(''))
      frozen.push(matched > 0)
      at += length
    }
    /** How an unused piece was put together, to take it apart again. */
    const parts = new Map<string, [string, string]>()
    const merged = mergePairs({ pieces, frozen }, (left, right) => {
      const id = this.#vocabulary.get(left + right)
      if (id === undefined) return undefined
      if (this.#tables.types[id] === UNUSED) parts.set(left + right, [left, right])
      return -this.#tables.scores[id]!
    })
    const ids: number[] = []
    for (const piece of merged) this.#emit(piece, parts, ids)
    return ids
  }

  #normalise(text: string): string {
    const { dummyPrefix, collapseSpaces, escapeSpaces } = this.#tables
    let normal = text.toWellFormed()
    if (collapseSpaces) normal = trimSpaces(normal).replace(/ {2,}/g, ' ')
    if (dummyPrefix && normal !== '') normal = ` ${normal}`
    return escapeSpaces ? normal.replaceAll(' ', SPACE) : normal
  }

  #emit(piece: string, parts: ReadonlyMap<string, [string, string]>, ids: number[]): void {
    const { types, byteIds, unknownId } = this.#tables
    const id = this.#vocabulary.get(piece)
    if (id !== undefined) {
      const halves = parts.get(piece)
      if (types[id] !== UNUSED || !halves) {
        ids.push(id)
        return
      }
      this.#emit(halves[0], parts, ids)
      this.#emit(halves[1], parts, ids)
    } else if (byteIds.length > 0) {
      for (const byte of Buffer.from(piece, 'utf8')) ids.push(byteIds[byte]!)
    } else if (ids.at(-1) !== unknownId) ids.push(unknownId)
  }
}

/** A regular expression would look at each run of spaces once for every space in it. */
function trimSpaces(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && text[start] === ' ') start++
  while (end > start && text[end - 1] === ' ') end--
  return text.slice(start, end)
}

/** Reads sentencepiece_model.proto's ModelProto, as far as encoding needs it. */
function readModel(bytes: Uint8Array): SentencePieceModel {
  const model: SentencePieceModel = {
    pieces: [],
    modelType: 1,
    bosId: 1,
    byteFallback: false,
    normaliser: '',
    charsMap: false,
    dummyPrefix: true,
    collapseSpaces: true,
    escapeSpaces: true,
    spaceAsSuffix: false,
  }
  readFields(bytes, {
    1: reader => model.pieces.push(readPiece(reader.bytes())),
    2: reader =>
      readFields(reader.bytes(), {
        3: trainer => (model.modelType = trainer.int32()),
        24: trainer => (model.spaceAsSuffix = trainer.bool()),
        35: trainer => (model.byteFallback = trainer.bool()),
        41: trainer => (model.bosId = trainer.int32()),
      }),
    3: reader =>
      readFields(reader.bytes(), {
        1: normaliser => (model.normaliser = normaliser.string()),
        2: normaliser => (model.charsMap = normaliser.bytes().byteLength > 0),
        3: normaliser => (model.dummyPrefix = normaliser.bool()),
        4: normaliser => (model.collapseSpaces = normaliser.bool()),
        5: normaliser => (model.escapeSpaces = normaliser.bool()),
      }),
  })
  return model
}

function readPiece(bytes: Uint8Array): Piece {
  const piece: Piece = { text: '', score: 0, type: NORMAL }
  readFields(bytes, {
    1: reader => (piece.text = reader.string()),
    2: reader => (piece.score = reader.float()),
    3: reader => (piece.type = reader.int32()),
  })
  return piece
}

function readFields(bytes: Uint8Array, handlers: Record<number, (reader: BinaryReader) => unknown>): void {
  const reader = new BinaryReader(bytes)
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag()
    const handler = handlers[field]
    if (handler) handler(reader)
    else if (type === WireType.StartGroup || type === WireType.EndGroup) throw new Error('unexpected group')
    else reader.skip(type)
  }
}
