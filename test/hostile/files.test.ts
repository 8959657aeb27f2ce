import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseModelConfig } from '../../src/families/pi0/config.js'
import { readNormStats } from '../../src/policy/norm-stats.js'
import { readTokenizerJson, TokenizerJsonTokenizer } from '../../src/policy/tokenizer/tokenizer-json.js'
import { OrbaxCheckpoint } from '../../src/storage/orbax/checkpoint.js'
import { Safetensors } from '../../src/storage/safetensors.js'
import { readJson } from '../support/checkpoint.js'
import { repositoryPath } from '../support/served-policy.js'

const vocab: Record<string, unknown> = { '<bos>': 0, '<unk>': 1, a: 2, b: 3, ab: 4 }
const sound = () => ({
  model: { type: 'BPE', vocab: { ...vocab }, merges: ['a b'] as unknown, unk_token: '<unk>' } as Record<
    string,
    unknown
  >,
  normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' } as unknown,
  pre_tokenizer: { type: 'Split', pattern: { String: ' ' } } as Record<string, unknown>,
  added_tokens: [{ id: 0, content: '<bos>', special: true }] as unknown,
})
type File = ReturnType<typeof sound>
const load = (file: unknown) =>
  new TokenizerJsonTokenizer(readTokenizerJson(JSON.stringify(file), 'tokenizer.json'))
const step = (pattern: string, content: string) => ({
  type: 'Replace',
  pattern: { String: pattern },
  content,
})

t.test('a tokenizer.json that says nonsense is refused by its field', async t => {
  t.same(load(sound()).encode('ab'), [4])
  const piece = (id: unknown) => (file: File) => Object.assign(file.model['vocab'] as object, { piece: id })
  const model = (fields: object) => (file: File) => Object.assign(file.model, fields)
  const added = (tokens: unknown) => (file: File) => Object.assign(file, { added_tokens: tokens })
  const edits: [RegExp, (file: File) => unknown][] = [
    [/model\/vocab\/piece/, piece(1.5)],
    [/model\/vocab\/piece/, piece(-7)],
    [/model\/vocab\/piece/, piece('9')],
    [/model\/vocab\/piece/, piece(null)],
    [/gives the id 4 to two pieces/, piece(4)],
    [/model\/merges/, model({ merges: 5 })],
    [/model\/merges\/0/, model({ merges: [null] })],
    [/ignore_merges/, model({ ignore_merges: true })],
    [/continuing_subword_prefix/, model({ continuing_subword_prefix: '##' })],
    [/end_of_word_suffix/, model({ end_of_word_suffix: '</w>' })],
    [/byte_fallback/, model({ byte_fallback: 'false' })],
    [/added_tokens/, added(null)],
    [/added_tokens\/0/, added([null])],
    [/added_tokens\/0\/id/, added([{ content: 'pick' }])],
    [/added_tokens\/0 has the id 2/, added([{ id: 2, content: 'pick' }])],
    [/single_word/, added([{ id: 9, content: 'pick', single_word: true }])],
    [/inverted/, file => Object.assign(file.pre_tokenizer, { invert: true })],
    [
      /up to 262144 times/,
      file =>
        Object.assign(file, {
          normalizer: { type: 'Sequence', normalizers: Array(18).fill(step('a', 'aa')) },
        }),
    ],
    [
      /has 100 steps/,
      file =>
        Object.assign(file, {
          normalizer: { type: 'Sequence', normalizers: Array(100).fill(step('a', 'b')) },
        }),
    ],
    [/empty text/, file => Object.assign(file, { normalizer: step('', 'a') })],
    [
      /normalizers\/0/,
      file => Object.assign(file, { normalizer: { type: 'Sequence', normalizers: [null] } }),
    ],
  ]
  for (const [message, edit] of edits) {
    const file = sound()
    edit(file)
    t.throws(() => load(file), { code: 'TOKENIZER_INVALID', message }, String(message))
  }
  for (const file of [null, 5, [], {}]) t.throws(() => load(file), { code: 'TOKENIZER_INVALID' })
})

t.test('headers and configs of absurd size are refused at once', async t => {
  const folder = t.testdir()
  const path = join(folder, 'model.safetensors')
  const tensors = Array.from(
    { length: 70_000 },
    (_, i) => `"t${i}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`,
  )
  const header = Buffer.from(`{${tensors.join(',')}}`)
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(path, Buffer.concat([size, header]))
  t.throws(() => Safetensors.open(path), { code: 'CHECKPOINT_INVALID', message: /lists 70000 tensors/ })
  size.writeBigUInt64LE(BigInt(2 ** 26))
  writeFileSync(path, Buffer.concat([size, Buffer.alloc(2 ** 26, 32)]))
  t.throws(() => Safetensors.open(path), {
    code: 'CHECKPOINT_INVALID',
    message: /a header of 67108864 bytes/,
  })

  const config = () =>
    readJson(repositoryPath('policies/tiny-libero/config.json')) as Record<string, Record<string, unknown>>
  for (const [part, field, value] of [
    ['paligemma', 'depth', 1e7],
    ['vision', 'depth', 1e8],
    ['vision', 'width', 1e12],
  ] as const) {
    const json = config()
    json[part]![field] = value
    t.throws(() => parseModelConfig(json, 'config.json', ['time_mlp_in.weight']), {
      code: 'CHECKPOINT_INVALID',
      message: new RegExp(`${part}\\.${field}": expected at most`),
    })
  }
})

t.test('statistics of nothing, and without a range, are refused', async t => {
  const file = repositoryPath('policies/tiny-libero/assets/physical-intelligence/libero/norm_stats.json')
  const written = (change: (actions: Record<string, number[]>) => void) => {
    const json = readJson(file) as { norm_stats: { actions: Record<string, number[]> } }
    change(json.norm_stats.actions)
    const path = join(t.testdir(), 'norm_stats.json')
    writeFileSync(path, JSON.stringify(json))
    return path
  }
  const fill = (q01: number, q99: number) =>
    written(actions => {
      actions['q01']!.fill(q01)
      actions['q99']!.fill(q99)
    })
  t.throws(() => readNormStats(fill(0, 0)), { code: 'NORM_STATS_INVALID', message: /equal in every number/ })
  t.throws(() => readNormStats(fill(-1e308, 1e308)), { code: 'NORM_STATS_INVALID', message: /no range/ })
})

t.test('a damaged tree of a JAX checkpoint is refused by name', async t => {
  for (const tree of [{ a: null }, { a: { key_metadata: [null] } }, { a: { key_metadata: 5 } }]) {
    const folder = t.testdir()
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, '_METADATA'), JSON.stringify({ tree_metadata: tree }))
    t.throws(() => OrbaxCheckpoint.open(folder), { code: 'CHECKPOINT_INVALID', message: /key_metadata/ })
  }
})
