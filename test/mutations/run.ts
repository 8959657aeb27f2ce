/**
 * Plants mistakes that would serve silently wrong actions, one at a time, in a copy of the source, and demands that the
 * tests notice each. Run with `npm run test:mutations`.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

interface Mutation {
  name: string
  file: string
  /** Texts to replace; each must be there exactly once. */
  edits: [from: string, to: string][]
  test: string
}

const NETWORK = 'test/runtime/cpu-network.test.ts'
const PRECISION = 'test/onnx/precision.test.ts'
const POLICY = 'test/policy/prepost.test.ts'

const mutations: Mutation[] = [
  {
    name: 'GELU by erf instead of tanh',
    file: 'src/onnx/graph.ts',
    edits: [["approximate: { text: 'tanh' }", "approximate: { text: 'none' }"]],
    test: NETWORK,
  },
  {
    name: 'adaptive scale and shift swapped',
    file: 'src/families/pi0/graphs/denoise.ts',
    edits: [['const [scale, shift, gate]', 'const [shift, scale, gate]']],
    test: NETWORK,
  },
  {
    name: 'second swish of the time MLP missing',
    file: 'src/families/pi0/graphs/modulation.ts',
    edits: [
      [
        "g.swish(dense(site, hidden, 'time_mlp_out', { type: 'float32' }))",
        "dense(site, hidden, 'time_mlp_out', { type: 'float32' })",
      ],
    ],
    test: NETWORK,
  },
  {
    name: 'suffix attends to padding',
    file: 'src/families/pi0/graphs/denoise.ts',
    edits: [['mask: logits => g.add(logits, padding)', 'mask: logits => logits']],
    test: NETWORK,
  },
  {
    name: "pi0's state token sees the actions",
    file: 'src/families/pi0/graphs/denoise.ts',
    edits: [
      [
        'variant.stateToken ? blockCausal(site, offsets) : (logits: Value) => logits',
        '(logits: Value) => logits',
      ],
    ],
    test: NETWORK,
  },
  {
    name: 'prefix attends to padding',
    file: 'src/families/pi0/graphs/prefix.ts',
    edits: [['mask: logits => g.add(logits, padding)', 'mask: logits => logits']],
    test: NETWORK,
  },
  {
    name: 'RoPE on interleaved pairs',
    file: 'src/families/pi0/blocks.ts',
    edits: [
      [
        "g.split(g.cast(x, 'float32'), -1, [headDim / 2, headDim / 2])",
        "g.split(g.reshape(g.cast(x, 'float32'), [0, 0, 0, headDim / 2, 2]), -1, [1, 1]).map(half => g.reshape(half, [0, 0, 0, headDim / 2]))",
      ],
      ['const rotated = g.concat(', 'const pairs = ('],
      [
        '    -1,\n  )\n  return g.cast(rotated, x.type)',
        '  ).map(half => g.unsqueeze(half, [4]))\n  return g.cast(g.reshape(g.concat(pairs, -1), [0, 0, 0, headDim]), x.type)',
      ],
    ],
    test: NETWORK,
  },
  {
    name: 'post-LayerNorm of the vision tower skipped',
    file: 'src/families/pi0/graphs/vision.ts',
    edits: [
      [
        'function layerNorm({ g, lower, config }: Site, x: Value, name: string): Value {',
        "function layerNorm({ g, lower, config }: Site, x: Value, name: string): Value {\n  if (name.endsWith('post_layernorm')) return x",
      ],
    ],
    test: NETWORK,
  },
  {
    name: 'one bias dropped',
    file: 'src/families/pi0/blocks.ts',
    edits: [['if (!biases) return product', "if (!biases || name.endsWith('mlp.fc2')) return product"]],
    test: NETWORK,
  },
  {
    name: 'softmax in 16 bits',
    file: 'src/families/pi0/blocks.ts',
    edits: [['g.softmax(logits[0]!)', 'g.softmax(g.cast(logits[0]!, q.type))']],
    test: PRECISION,
  },
  {
    name: 'residual stream in 16 bits',
    file: 'src/families/pi0/blocks.ts',
    edits: [
      [
        "return g.add(x, g.cast(y, 'float32'))",
        "return g.cast(g.add(g.cast(x, g.compute), g.cast(y, g.compute)), 'float32')",
      ],
    ],
    test: PRECISION,
  },
  {
    name: 'the emulation does not round',
    file: 'src/onnx/rounding-graph.ts',
    edits: [['outputs.map(output => this.rounded(output))', 'outputs']],
    test: PRECISION,
  },
  {
    name: 'z-score instead of quantile normalisation',
    file: 'src/policy/normalise.ts',
    edits: [
      ['stats: FeatureStats, kind: Normalisation,', 'stats: FeatureStats, _: Normalisation,'],
      ['this.#kind = kind', "const kind: string = 'zscore'\n    this.#kind = kind as Normalisation"],
    ],
    test: POLICY,
  },
]

const root = new URL('../..', import.meta.url).pathname
const copy = mkdtempSync(join(tmpdir(), 'turbo-pi-mutations-'))

/** The first assertion that fails in a test file, if any. */
function failure(test: string): string | undefined {
  const { status, stdout } = spawnSync(process.execPath, ['--import=tsx', '--no-warnings', test], {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    env: { ...process.env, TURBO_PI_CACHE: join(copy, 'cache'), TAP_TIMEOUT: '600' },
  })
  if (status === 0) return undefined
  return /not ok \d+ - (.*)/.exec(stdout)?.[1] ?? 'no assertion: the test did not run'
}

function plant({ name, file, edits }: Mutation): () => void {
  const path = join(copy, file)
  const original = readFileSync(path, 'utf8')
  let text = original
  for (const [from, to] of edits) {
    if (text.split(from).length !== 2) throw new Error(`${name}: ${file} does not hold exactly once: ${from}`)
    text = text.replace(from, () => to)
  }
  writeFileSync(path, text)
  return () => writeFileSync(path, original)
}

try {
  for (const name of ['src', 'test', 'policies', 'package.json', 'tsconfig.json'])
    cpSync(join(root, name), join(copy, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  for (const test of new Set(mutations.map(mutation => mutation.test)))
    if (failure(test)) throw new Error(`${test} fails before anything is changed`)
  let survivors = 0
  for (const mutation of mutations) {
    const restore = plant(mutation)
    const caught = failure(mutation.test)
    restore()
    if (!caught) survivors++
    console.log(`${caught ? 'caught  ' : 'SURVIVED'}  ${mutation.name}${caught ? ` (${caught})` : ''}`)
  }
  console.log(`\n${mutations.length - survivors} of ${mutations.length} mistakes caught`)
  process.exitCode = survivors ? 1 : 0
} finally {
  rmSync(copy, { recursive: true, force: true })
}
