import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { resizeWithPad } from '../../src/policy/images/resize.js'
import type { FeatureStats } from '../../src/policy/norm-stats.js'
import { Normaliser } from '../../src/policy/normalise.js'
import { cleanPrompt, promptTexts, stateBin } from '../../src/policy/prompt.js'
import { loadTokenizer } from '../../src/policy/tokenizer/load.js'
import { Safetensors } from '../../src/storage/safetensors.js'

const golden = (name: string) => fileURLToPath(new URL(`../golden/prepost/${name}`, import.meta.url))

function numbers(store: Safetensors, name: string): Float64Array {
  const { dtype } = store.entry(name)
  const { buffer } = store.bytes(name)
  if (dtype === 'F64') return new Float64Array(buffer)
  if (dtype === 'F32') return Float64Array.from(new Float32Array(buffer))
  return Float64Array.from(new BigInt64Array(buffer), Number)
}

t.test('resize is bit-exact with Pillow through openpi, and with torch as LeRobot uses it', async t => {
  const store = Safetensors.open(golden('resize.safetensors'))
  t.teardown(() => store.close())
  const inputs = [...store.tensors.keys()].filter(name => name.startsWith('in.') && !name.includes('batch'))
  t.equal(inputs.length, 10)
  for (const name of inputs) {
    const [height, width] = store.entry(name).shape as [number, number]
    const image = { pixels: store.bytes(name), width, height }
    const key = name.slice(3)
    t.ok(Buffer.from(resizeWithPad(image, 224)).equals(store.bytes(`pil.${key}`)), `${key} pillow`)
    if (!store.tensors.has(`torch_f32.${key}`)) continue
    // Torch gives floats in −1…1; ours are rounded to the nearest of 256 levels.
    const levels = store.float32(`torch_f32.${key}`).map(value => ((value + 1) / 2) * 255)
    const torch = resizeWithPad(image, 224, 'torch')
    t.ok(
      torch.every((value, i) => Math.abs(value - (levels[i] as number)) <= 0.5001),
      `${key} torch`,
    )
  }
  const batch = store.bytes('in.batch2_60x80')
  const expected = store.bytes('pil_112x112.batch2_60x80')
  for (const row of [0, 1]) {
    const pixels = batch.subarray(row * 14400, (row + 1) * 14400)
    const square = resizeWithPad({ pixels, width: 80, height: 60 }, 112)
    t.ok(Buffer.from(square).equals(expected.subarray(row * 37632, (row + 1) * 37632)), `batch ${row}`)
  }
  const same = store.bytes('in.224x224')
  t.equal(resizeWithPad({ pixels: same, width: 224, height: 224 }, 224), same, 'the right size is not copied')
})

t.test('normalisation agrees with openpi to 1e-12', async t => {
  const store = Safetensors.open(golden('normalize.safetensors'))
  t.teardown(() => store.close())
  const stats = (feature: string): FeatureStats => ({
    mean: numbers(store, `stats.${feature}.mean`),
    std: numbers(store, `stats.${feature}.std`),
    q01: numbers(store, `stats.${feature}.q01`),
    q99: numbers(store, `stats.${feature}.q99`),
  })
  const largest = (a: Float64Array, b: Float64Array) =>
    a.reduce(
      (worst, value, i) => Math.max(worst, Math.abs(value - (b[i] as number))),
      a.length === b.length ? 0 : 1e9,
    )
  for (const kind of ['quantile', 'zscore'] as const) {
    const state = new Normaliser(stats('state'), kind)
    const actions = new Normaliser(stats('actions'), kind)
    for (const dtype of ['float32', 'float64']) {
      const tag = `${kind}.${dtype}`
      const rows = (name: string) => {
        const values = numbers(store, `${tag}.in.${name}`)
        return dtype === 'float32' ? Float32Array.from(values) : values
      }
      for (const name of ['state', 'state6'])
        t.ok(
          largest(
            state.normalise(Float64Array.from(rows(name))),
            numbers(store, `${tag}.normalized.${name}`),
          ) <= 1e-12,
          `${tag} ${name}`,
        )
      const back = (normaliser: Normaliser, name: string) =>
        largest(
          normaliser.unnormalise(rows(`out_${name}`), 32),
          numbers(store, `${tag}.unnormalized.${name}`),
        )
      t.ok(back(state, 'state32') <= 1e-12, `${tag} state back`)
      t.ok(back(actions, 'actions32') <= 1e-12, `${tag} actions back`)
    }
    t.throws(() => state.normalise(new Float64Array(9)), { code: 'NORM_STATS_INVALID' })
  }
})

t.test("LeRobot's arithmetic: 1e-8, and no epsilon on a quantile range", async t => {
  const stats = {
    mean: Float64Array.of(1, 0),
    std: Float64Array.of(2, 0),
    q01: Float64Array.of(-1, 3),
    q99: Float64Array.of(3, 3),
  }
  const zscore = new Normaliser(stats, 'zscore', 'lerobot')
  t.same([...zscore.normalise(Float64Array.of(5, 1))], [2, 1e8], 'in float32')
  const quantile = new Normaliser(stats, 'quantile', 'lerobot')
  t.same([...quantile.normalise(Float64Array.of(1, 3))], [0, -1])
  t.same([...quantile.unnormalise(Float64Array.of(0, -1), 2)], [1, 3])
  t.throws(() => new Normaliser({ mean: stats.mean, std: stats.std }, 'quantile'), {
    code: 'NORM_STATS_INVALID',
    message: /needs q01 and q99/,
  })
})

t.test('state bins are those of the edges, next to every edge', async t => {
  const store = Safetensors.open(golden('tokenize_bins.safetensors'))
  t.teardown(() => store.close())
  for (const dtype of ['f64', 'f32']) {
    const bins = Array.from(numbers(store, `x_${dtype}`), stateBin)
    t.same(bins, [...numbers(store, `bin_${dtype}`)], dtype)
  }
  t.same([Number.NaN, Infinity, -Infinity, -1, 1].map(stateBin), [255, 255, -1, 0, 255])
})

interface TokenCase {
  prompt: string
  state: string[] | null
  max_len: number
  encoded_strings: string[]
  tokens: number[]
  mask_len: number
}

const python = (text: string) => (text === 'inf' ? Infinity : text === '-inf' ? -Infinity : Number(text))

t.test('prompts and tokens are those of the reference', async t => {
  const cases = JSON.parse(readFileSync(golden('tokenize.json'), 'utf8')) as TokenCase[]
  const tokenizer = loadTokenizer(golden('tiny_spm.model'))
  t.equal(tokenizer.vocabSize, 2048)
  t.equal(tokenizer.bosId, 2)
  for (const { prompt, state, max_len, encoded_strings, tokens, mask_len } of cases) {
    const numbers = Float64Array.from(state ?? [], python)
    const texts = promptTexts(prompt, state ? 'state' : 'plain', numbers)
    t.same(texts, encoded_strings)
    const ids = [tokenizer.bosId, ...texts.flatMap(text => tokenizer.encode(text))].slice(0, max_len)
    t.same(ids, tokens.slice(0, mask_len), JSON.stringify(prompt))
  }
  t.ok(cases.length > 100)
  t.equal(cleanPrompt('\u3000\x1cpick_up\nthe cup\x85 '), 'pick up the cup')
  t.equal(cleanPrompt('\ufeffcup'), '\ufeffcup', 'a byte order mark is no white space in Python')
})
