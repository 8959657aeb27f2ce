import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { reasonOf, TurboPiError } from '../../errors.js'
import { byteToken, mergePairs } from './bpe.js'
import { PrefixMatcher } from './prefix-matcher.js'
import type { Tokenizer } from './tokenizer.js'
import { SPACE, WordEncoder } from './words.js'

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

/** SentencePiece BPE, from the bytes of a `.model` file, with byte fallback and user-defined symbols. */
export class SentencePieceTokenizer implements Tokenizer {
  readonly vocabSize: number
  readonly textVocabSize: number
  readonly bosId: number
  readonly #model: SentencePieceModel
  /** Ids and scores of what text may become. */
  readonly #pieces = new Map<string, number>()
  readonly #byteIds: number[] = []
  readonly #unknownId: number
  readonly #userDefined: PrefixMatcher
  readonly #words: WordEncoder

  /** `name` is the file, for messages. Throws TOKENIZER_INVALID. */
  constructor(bytes: Uint8Array, name: string) {
    const refuse = (detail: string) => new TurboPiError('TOKENIZER_INVALID', `${name}: ${detail}`)
    let model: SentencePieceModel
    try {
      model = readModel(bytes)
    } catch (error) {
      throw refuse(`not a SentencePiece model (${reasonOf(error)}).`)
    }
    const { pieces } = model
    if (pieces.length === 0) throw refuse('not a SentencePiece model: it has no pieces.')
    const odd = pieces.findIndex(({ score }) => !Number.isFinite(score))
    if (odd >= 0) throw refuse(`the score of piece ${odd} is ${pieces[odd]?.score}; expected a number.`)
    if (model.modelType !== BPE) throw refuse('only BPE models are supported; this one is of another type.')
    if (model.charsMap)
      throw refuse(`the normaliser "${model.normaliser}" is not supported; only identity is.`)
    if (model.spaceAsSuffix) throw refuse('spaces as suffixes are not supported.')
    this.#model = model
    this.vocabSize = pieces.length
    this.textVocabSize = pieces.length
    this.bosId = model.bosId
    if (!(model.bosId >= 0 && model.bosId < pieces.length))
      throw refuse('the model has no begin-of-sequence token.')
    pieces.forEach(({ text, type }, id) => {
      if (type === NORMAL || type === USER_DEFINED || type === UNUSED) this.#pieces.set(text, id)
    })
    this.#unknownId = pieces.findIndex(piece => piece.type === UNKNOWN)
    if (this.#unknownId < 0) throw refuse('the model has no unknown token.')
    if (model.byteFallback) {
      const ids = new Map(pieces.map(({ text }, id) => [text, id]))
      for (let byte = 0; byte < 256; byte++) {
        const id = ids.get(byteToken(byte))
        if (id === undefined) throw refuse(`byte fallback is on, but ${byteToken(byte)} is missing.`)
        this.#byteIds.push(id)
      }
    }
    this.#userDefined = new PrefixMatcher(
      pieces.filter(piece => piece.type === USER_DEFINED).map(piece => piece.text),
    )
    this.#words = new WordEncoder(this.#pieces.keys(), word => this.#encodeWord(word))
  }

  encode(text: string): number[] {
    const ids: number[] = []
    for (const word of this.#words.words(this.#normalise(text))) {
      // Unknown characters that follow each other are one token, also from one word to the next.
      const fused = word[0] === this.#unknownId && ids.at(-1) === this.#unknownId
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
      const id = this.#pieces.get(left + right)
      if (id === undefined) return undefined
      const { type, score } = this.#model.pieces[id] as Piece
      if (type === UNUSED) parts.set(left + right, [left, right])
      return -score
    })
    const ids: number[] = []
    for (const piece of merged) this.#emit(piece, parts, ids)
    return ids
  }

  #normalise(text: string): string {
    const { dummyPrefix, collapseSpaces, escapeSpaces } = this.#model
    let normal = text.toWellFormed()
    if (collapseSpaces) normal = trimSpaces(normal).replace(/ {2,}/g, ' ')
    if (dummyPrefix && normal !== '') normal = ` ${normal}`
    return escapeSpaces ? normal.replaceAll(' ', SPACE) : normal
  }

  #emit(piece: string, parts: ReadonlyMap<string, [string, string]>, ids: number[]): void {
    const id = this.#pieces.get(piece)
    if (id !== undefined) {
      const halves = parts.get(piece)
      if (this.#model.pieces[id]?.type !== UNUSED || !halves) {
        ids.push(id)
        return
      }
      this.#emit(halves[0], parts, ids)
      this.#emit(halves[1], parts, ids)
    } else if (this.#model.byteFallback) {
      for (const byte of Buffer.from(piece, 'utf8')) ids.push(this.#byteIds[byte] as number)
    } else if (ids.at(-1) !== this.#unknownId) ids.push(this.#unknownId)
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
