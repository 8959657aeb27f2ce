import { type Static, type TSchema, Type } from 'typebox'
import { compileCheck } from '../../contract/validate.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { MOST_IDS } from './pair-ranks.js'

const Id = Type.Integer({ minimum: 0, maximum: MOST_IDS - 1 })
const optional = <T extends TSchema>(type: T) => Type.Optional(Type.Union([type, Type.Null()]))

const AddedToken = Type.Object({
  id: Id,
  content: Type.String({ minLength: 1 }),
  special: Type.Optional(Type.Boolean()),
  normalized: Type.Optional(Type.Boolean()),
  single_word: Type.Optional(Type.Boolean()),
  lstrip: Type.Optional(Type.Boolean()),
  rstrip: Type.Optional(Type.Boolean()),
})

/** The parts of a `tokenizer.json` (Hugging Face tokenizers) that byte-fallback BPE has; others are passed over. */
const TokenizerJsonSchema = Type.Object({
  model: Type.Object({
    type: Type.Literal('BPE'),
    vocab: Type.Record(Type.String(), Id),
    merges: Type.Array(Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 2, maxItems: 2 })])),
    byte_fallback: Type.Optional(Type.Boolean()),
    fuse_unk: Type.Optional(Type.Boolean()),
    unk_token: optional(Type.String()),
    ignore_merges: Type.Optional(Type.Boolean()),
    dropout: optional(Type.Number()),
    continuing_subword_prefix: optional(Type.String()),
    end_of_word_suffix: optional(Type.String()),
  }),
  normalizer: optional(Type.Object({ type: Type.String() })),
  pre_tokenizer: optional(
    Type.Object({
      type: Type.String(),
      pattern: Type.Optional(Type.Object({ String: Type.Optional(Type.String()) })),
      invert: Type.Optional(Type.Boolean()),
    }),
  ),
  added_tokens: Type.Optional(Type.Array(AddedToken)),
})

/** A step of a normaliser; `Sequence` holds others. */
const NormaliserStep = Type.Object({
  type: Type.String(),
  normalizers: Type.Optional(Type.Array(Type.Object({ type: Type.String() }))),
  pattern: Type.Optional(Type.Object({ String: Type.Optional(Type.String()) })),
  content: Type.Optional(Type.String()),
  prepend: Type.Optional(Type.String()),
})

export interface NormaliserJson {
  type: string
  normalizers?: NormaliserJson[]
  pattern?: { String?: string }
  content?: string
  prepend?: string
}

export type TokenizerJson = Omit<
  Static<typeof TokenizerJsonSchema>,
  'normalizer' | 'model' | 'pre_tokenizer'
> & {
  model: {
    vocab: Record<string, number>
    merges: (string | [string, string])[]
    byte_fallback?: boolean
    fuse_unk?: boolean
    unk_token?: string | null
  }
  normalizer?: NormaliserJson | null
}

const checkFile = compileCheck(TokenizerJsonSchema, 'TOKENIZER_INVALID')
const checkStep = compileCheck(NormaliserStep, 'TOKENIZER_INVALID')

/** Parses and checks a `tokenizer.json`; what would give other ids than its makers meant is refused by its field. */
export function parseTokenizerJson(text: string, refuse: (detail: string) => TurboPiError): TokenizerJson {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw refuse(`not JSON (${reasonOf(error)}).`)
  }
  const { model } = (json ?? {}) as { model?: { type?: unknown } | null }
  if (model?.type !== 'BPE')
    throw refuse(`expected a BPE model, got ${(JSON.stringify(model?.type) ?? 'null').slice(0, 100)}.`)
  checked(() => checkFile(json), refuse)
  const file = json as Static<typeof TokenizerJsonSchema>
  checkSteps(file.normalizer, refuse)
  checkMeaning(file, refuse)
  return json as TokenizerJson
}

function checked(check: () => void, refuse: (detail: string) => TurboPiError): void {
  try {
    check()
  } catch (error) {
    throw error instanceof TurboPiError ? refuse(`${error.message}.`) : error
  }
}

function checkSteps(normaliser: unknown, refuse: (detail: string) => TurboPiError): void {
  const steps: unknown[] = normaliser ? [normaliser] : []
  for (let step = steps.pop(); step; step = steps.pop()) {
    checked(() => checkStep(step), refuse)
    const { normalizers = [] } = step as NormaliserJson
    steps.push(...normalizers)
  }
}

function checkMeaning(
  { model, pre_tokenizer: split, added_tokens: added = [] }: Static<typeof TokenizerJsonSchema>,
  refuse: (detail: string) => TurboPiError,
): void {
  if (model.dropout) throw refuse('BPE dropout is not supported.')
  if (model.ignore_merges) throw refuse('model.ignore_merges is true; only false is supported.')
  for (const field of ['continuing_subword_prefix', 'end_of_word_suffix'] as const)
    if (model[field])
      throw refuse(`model.${field} is ${JSON.stringify(model[field])}; only none is supported.`)
  // Gemma's files split at spaces that its normaliser has already replaced: no split at all.
  if (split && (split.type !== 'Split' || split.pattern?.String !== ' ' || split.invert))
    throw refuse(`the pre-tokenizer ${split.type}${split.invert ? ', inverted,' : ''} is not supported.`)
  const pieces = new Map<number, string>()
  for (const [piece, id] of Object.entries(model.vocab)) {
    if (pieces.has(id)) throw refuse(`model.vocab gives the id ${id} to two pieces.`)
    pieces.set(id, piece)
  }
  added.forEach((token, i) => {
    const owner = pieces.get(token.id)
    if (owner !== undefined && owner !== token.content)
      throw refuse(`added_tokens/${i} has the id ${token.id}, which model.vocab gives to another piece.`)
    const trims = (['single_word', 'lstrip', 'rstrip'] as const).find(field => token[field])
    if (!token.special && trims) throw refuse(`added_tokens/${i}: ${trims} is true; only false is supported.`)
  })
}
