import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import t from 'tap'
import { loadTokenizer } from '../../src/policy/tokenizer/load.js'
import { readSentencePiece, SentencePieceTokenizer } from '../../src/policy/tokenizer/sentencepiece.js'
import { readTokenizerJson, TokenizerJsonTokenizer } from '../../src/policy/tokenizer/tokenizer-json.js'
import { golden, scratch } from '../support/checkpoint.js'

const sentencePiece = (...file: Parameters<typeof readSentencePiece>) =>
  new SentencePieceTokenizer(readSentencePiece(...file))
const tokenizerJson = (...file: Parameters<typeof readTokenizerJson>) =>
  new TokenizerJsonTokenizer(readTokenizerJson(...file))

interface Piece {
  text: string
  score: number
  type: number
}

const NORMAL = 1
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4
const UNUSED = 5
const BYTE = 6

/** Pieces of a SentencePiece model, read independently of the tokenizer. */
function piecesOf(path: string): Piece[] {
  const pieces: Piece[] = []
  const reader = new BinaryReader(readFileSync(path))
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag()
    if (field !== 1) {
      reader.skip(type)
      continue
    }
    const end = reader.uint32() + reader.pos
    const piece: Piece = { text: '', score: 0, type: NORMAL }
    while (reader.pos < end) {
      const [inner] = reader.tag()
      if (inner === 1) piece.text = reader.string()
      else if (inner === 2) piece.score = reader.float()
      else piece.type = reader.int32()
    }
    pieces.push(piece)
  }
  return pieces
}

interface Spec {
  modelType?: number
  byteFallback?: boolean
  bosId?: number
  dummyPrefix?: boolean
  collapseSpaces?: boolean
  charsMap?: boolean
  suffix?: boolean
}

/** Writes a SentencePiece model. */
function model(pieces: Piece[], spec: Spec = {}): Uint8Array {
  const out = new BinaryWriter()
  for (const { text, score, type } of pieces)
    out
      .tag(1, WireType.LengthDelimited)
      .fork()
      .tag(1, WireType.LengthDelimited)
      .string(text)
      .tag(2, WireType.Bit32)
      .float(score)
      .tag(3, WireType.Varint)
      .int32(type)
      .join()
  out
    .tag(2, WireType.LengthDelimited)
    .fork()
    .tag(3, WireType.Varint)
    .int32(spec.modelType ?? 2)
  out
    .tag(24, WireType.Varint)
    .bool(spec.suffix ?? false)
    .tag(35, WireType.Varint)
    .bool(spec.byteFallback ?? false)
  out
    .tag(41, WireType.Varint)
    .int32(spec.bosId ?? 1)
    .join()
  out.tag(3, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).string('identity')
  if (spec.charsMap) out.tag(2, WireType.LengthDelimited).bytes(Uint8Array.of(1))
  out
    .tag(3, WireType.Varint)
    .bool(spec.dummyPrefix ?? false)
    .tag(4, WireType.Varint)
    .bool(spec.collapseSpaces ?? false)
    .join()
  return out.finish()
}

const piece = (text: string, score = 0, type = NORMAL): Piece => ({ text, score, type })
const SPECIAL = [piece('<unk>', 0, UNKNOWN), piece('<bos>', 0, CONTROL)]

/** The same BPE as a tokenizer.json: every way to make a piece is a merge, in the order of the pieces. */
function asTokenizerJson(pieces: Piece[]): unknown {
  const ids = new Map(pieces.map(({ text }, id) => [text, id]))
  const merges = pieces
    .filter(({ type, text }) => type === NORMAL && [...text].length > 1)
    .sort((a, b) => b.score - a.score)
    .flatMap(({ text }) => {
      const points = [...text]
      return points
        .slice(1)
        .map((_, i) => [points.slice(0, i + 1).join(''), points.slice(i + 1).join('')])
        .filter(halves => halves.every(half => ids.has(half)))
    })
  return {
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(ids),
      merges,
      byte_fallback: true,
      unk_token: '<unk>',
      fuse_unk: true,
    },
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'Replace', pattern: { String: ' ' }, content: '▁' }],
    },
    pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious' },
    // A piece with a plain space can never match in SentencePiece, which has escaped them all by then.
    added_tokens: pieces.flatMap(({ text, type }, id) =>
      (type === USER_DEFINED && !text.includes(' ')) || type === CONTROL || type === UNKNOWN
        ? [{ id, content: text.replaceAll('▁', ' '), special: type !== USER_DEFINED }]
        : [],
    ),
  }
}

t.test(
  'a tokenizer.json of the same vocabulary gives the same tokens as the SentencePiece model',
  async t => {
    const path = golden('prepost/tiny_spm.model')
    const pieces = piecesOf(path)
    t.equal(pieces.length, 2048)
    const jsonPath = join(scratch(t), 'tokenizer.json')
    writeFileSync(jsonPath, JSON.stringify(asTokenizerJson(pieces)))
    const [spm, json] = [loadTokenizer(path), loadTokenizer(jsonPath)]
    t.same([json.vocabSize, json.textVocabSize, json.bosId], [2048, 2048, 2])
    const cases = JSON.parse(readFileSync(golden('prepost/tokenize.json'), 'utf8')) as {
      encoded_strings: string[]
    }[]
    const texts = cases.flatMap(({ encoded_strings }) => encoded_strings)
    texts.push(
      '',
      '  ',
      '\t\n\n x',
      'naïve 机器人 🤖',
      '<bos><pad><0x41>',
      'lone \ud800 surrogate',
      'a\u0000b',
      '123,456.789',
    )
    for (const text of texts) t.same(json.encode(text), spm.encode(text), JSON.stringify(text))
    t.notOk(spm.encode('<bos>').includes(2), 'control tokens are not read from text')
  },
)

t.test('byte-pair merging: best score first, then leftmost', async t => {
  const bytes = model([
    ...SPECIAL,
    piece('a', -9),
    piece('b', -9),
    piece('ab', -1),
    piece('ba', -2),
    piece('aba', -3),
    piece('aa', -1),
  ])
  const tokenizer = sentencePiece(bytes, 'x')
  const pieces = ['<unk>', '<bos>', 'a', 'b', 'ab', 'ba', 'aba', 'aa']
  const split = (text: string) => tokenizer.encode(text).map(id => pieces[id])
  t.same(split('abab'), ['ab', 'ab'])
  t.same(split('bab'), ['b', 'ab'])
  t.same(split('aba'), ['aba'])
  t.same(split('aaa'), ['aa', 'a'])
  t.same(split('aab'), ['aa', 'b'])
  t.same(split('axxa'), ['a', '<unk>', 'a'], 'unknown characters in a row are one token')
  t.same(split('a'.repeat(5000)).length, 2500)
})

t.test('words are encoded apart only where no piece reaches from one into the next', async t => {
  const letters = [...SPECIAL, piece('▁', -9), piece('a', -9), piece('b', -9)]
  const apart = sentencePiece(model([...letters, piece('▁a', -2), piece('ab', -1)]), 'x')
  // ▁a of the first word is kept, but a merges with b first in the second.
  const once = apart.encode(' a ab a')
  t.same(once, [5, 2, 6, 5])
  t.same(apart.encode(' a ab a'), once, 'words seen before give the same ids')
  t.same(apart.encode('?? ??'), [0, 2, 0], 'unknown characters are one token in each word')
  const across = sentencePiece(model([...letters, piece('▁a', -2), piece('b▁', -1)]), 'x')
  t.same(across.encode('b a'), [6, 3], 'a piece that ends in a space takes it from the next word')
  const spaceless = sentencePiece(model([...SPECIAL, piece('a')]), 'x')
  t.same(spaceless.encode('a? ?a'), [2, 0, 2], 'an unknown space is one token with what is around it')
  const long = `${'ab'.repeat(2000)} a`
  t.same(apart.encode(long).length, 2001)
})

t.test('unused and user-defined pieces, spaces, byte fallback', async t => {
  const unused = sentencePiece(
    model([
      ...SPECIAL,
      piece('a'),
      piece('b'),
      piece('c'),
      piece('ab', -1, UNUSED),
      piece('abc', -2),
      piece('<x>', 0, USER_DEFINED),
    ]),
    'x',
  )
  t.same(unused.encode('ab'), [2, 3], 'an unused piece is taken apart again')
  t.same(unused.encode('abc'), [6], 'and is a step towards a larger one')
  t.same(unused.encode('ab<x>c'), [2, 3, 7, 4], 'a user-defined piece never merges')
  const spaces = sentencePiece(
    model([...SPECIAL, piece('▁', -3), piece('a', -3), piece('▁a', -1)], {
      dummyPrefix: true,
      collapseSpaces: true,
    }),
    'x',
  )
  t.same(spaces.encode('  a   a '), [4, 4])
  t.same(spaces.encode(''), [])
  const tokens = Array.from({ length: 256 }, (_, byte) =>
    piece(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 0, BYTE),
  )
  const fallback = sentencePiece(model([...SPECIAL, ...tokens], { byteFallback: true }), 'x')
  t.same(fallback.encode('é\n'), [0xc3 + 2, 0xa9 + 2, 0x0a + 2])
})

t.test('what is not known is refused by name', async t => {
  const spm = (pieces: Piece[], spec: Spec, message: RegExp) =>
    t.throws(() => sentencePiece(model(pieces, spec), 'a.model'), {
      code: 'TOKENIZER_INVALID',
      message,
    })
  spm([], {}, /a\.model: .*no pieces/)
  spm(SPECIAL, { modelType: 1 }, /only BPE/)
  spm(SPECIAL, { charsMap: true }, /normaliser "identity" is not supported/)
  spm(SPECIAL, { suffix: true }, /suffixes/)
  spm(SPECIAL, { bosId: -1 }, /begin-of-sequence/)
  spm([piece('a'), piece('b')], {}, /unknown token/)
  spm(SPECIAL, { byteFallback: true }, /<0x00> is missing/)
  const base = { type: 'BPE', vocab: { '<unk>': 0, '<bos>': 1, a: 2 }, merges: [], unk_token: '<unk>' }
  const json = (change: object, message: RegExp, more: object = {}) =>
    t.throws(() => tokenizerJson(JSON.stringify({ model: { ...base, ...change }, ...more }), 'a.json'), {
      code: 'TOKENIZER_INVALID',
      message,
    })
  json({ type: 'Unigram' }, /expected a BPE model, got "Unigram"/)
  json({ merges: ['a b'] }, /merge 0 \("a b"\)/)
  json({ dropout: 0.1 }, /dropout/)
  json({ unk_token: null }, /unknown token/)
  json({ vocab: { '<unk>': 0, a: 2 } }, /begin-of-sequence/)
  json({}, /pre-tokenizer ByteLevel/, { pre_tokenizer: { type: 'ByteLevel' } })
  json({}, /normaliser NFKC/, { normalizer: { type: 'NFKC' } })
  t.throws(() => tokenizerJson('{', 'a.json'), {
    code: 'TOKENIZER_INVALID',
    message: /a\.json: not JSON/,
  })
  t.throws(() => loadTokenizer('/nowhere.model'), {
    code: 'TOKENIZER_INVALID',
    message: /nowhere\.model: cannot be opened/,
  })
})
