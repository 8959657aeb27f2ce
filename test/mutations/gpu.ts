/**
 * The mistakes of the network that test/mutations/run.ts plants in the CPU's graphs, planted in the CUDA kernels: in the
 * reference kernels, which golden cases must notice, and in the tuned ones, which must then differ from the reference
 * kernels. What pi0's state token may see is one key among hundreds, whose effect is below the precision of bfloat16: it
 * is planted in the reference kernels alone. Run with `npm run test:mutations:gpu` where a Hopper GPU, nvcc and the addon
 * are.
 */
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pLimit from 'p-limit'

interface Mutation {
  name: string
  /** In native/src/kernels. */
  file: string
  /** Texts to replace; each must be there exactly once. */
  edits: [from: string, to: string][]
  /** Arguments of network_check, or the golden cases of the small models. */
  noticedBy: 'golden' | string[]
}

const TUNED = ['--compare']
const JOINED = ['--joined', '--small']
const FLOAT8 = ['--float8', '--vision', '--compare']
const ROUNDING = ['--rounding']
const SHARED = ['--again', '45', '--processes', '3']

const mutations: Mutation[] = [
  {
    name: 'what lies behind a joined row is left there',
    file: 'copy_rows.cu',
    edits: [['i < p.heads * toHead;', 'i < p.heads * toHead - (toHead - valid);']],
    noticedBy: JOINED,
  },
  {
    name: 'heads of a joined row as far apart as where it goes',
    file: 'copy_rows.cu',
    edits: [['i / toHead * fromHead + at', 'i / toHead * toHead + at']],
    noticedBy: JOINED,
  },
  {
    name: 'GELU by erf instead of tanh',
    file: 'common.cuh',
    edits: [
      [
        'return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));',
        'return 0.5f * x * (1.0f + erff(0.7071067811865475f * x));',
      ],
    ],
    noticedBy: 'golden',
  },
  {
    name: 'adaptive scale and shift swapped',
    file: 'norm.cu',
    edits: [
      [
        'scales = [&] { return load4(p.scale + constants, i, there && p.out)',
        'scales = [&] { return load4(p.shift + constants, i, there && p.out && p.shift)',
      ],
      [
        'shifts = [&] { return load4(p.shift + constants, i, there && p.out && p.shift)',
        'shifts = [&] { return load4(p.scale + constants, i, there && p.out)',
      ],
    ],
    noticedBy: 'golden',
  },
  {
    name: 'swish of the time MLP missing',
    file: 'linear.cu',
    edits: [['p.epilogue == Epilogue::kSwish ? v / (1.0f + expf(-v)) : v', 'v']],
    noticedBy: 'golden',
  },
  {
    name: 'attention to padding',
    file: 'attention.cu',
    edits: [['kv.lengths ? static_cast<int>(kv.lengths[b]) : kv.keyCount', 'kv.keyCount']],
    noticedBy: 'golden',
  },
  {
    name: "pi0's state token sees the actions",
    file: 'attention.cu',
    edits: [['if (part == 1 && p.stateRow && row == 0) counts[part] = 1;', '']],
    noticedBy: 'golden',
  },
  {
    name: 'RoPE on interleaved pairs',
    file: 'rope.cu',
    edits: [
      ['(token * heads + head) * p.headDim + i;', '(token * heads + head) * p.headDim + 2 * i;'],
      ['wide(from[half])', 'wide(from[1])'],
      ['to[i] = narrow<T>(x1);', 'to[2 * i] = narrow<T>(x1);'],
      ['to[i + half] = narrow<T>(x2);', 'to[2 * i + 1] = narrow<T>(x2);'],
    ],
    noticedBy: 'golden',
  },
  {
    name: 'biases of what is added to the residual stream dropped',
    file: 'linear.cu',
    edits: [
      [
        'float v = sums[i][j] * p.scale + (p.bias ? p.bias[n] : 0.0f)',
        'float v = sums[i][j] * p.scale + (p.bias && p.epilogue != Epilogue::kResidual ? p.bias[n] : 0.0f)',
      ],
    ],
    noticedBy: 'golden',
  },
  {
    name: 'residual stream in 16 bits',
    file: 'linear.cu',
    edits: [
      [
        'static_cast<float*>(p.out)[at] += v * (p.gate ? p.gate[n + constantsOf(p.given, m)] : 1.0f);',
        'static_cast<float*>(p.out)[at] = wide(narrow<bf16>(static_cast<float*>(p.out)[at] + v * (p.gate ? p.gate[n + constantsOf(p.given, m)] : 1.0f)));',
      ],
    ],
    noticedBy: 'golden',
  },
  {
    name: 'tuned: GELU without its cubic term',
    file: 'common.cuh',
    edits: [['"f"(0.7978845608028654f * (x + 0.044715f * x * x * x))', '"f"(0.7978845608028654f * x)']],
    noticedBy: TUNED,
  },
  {
    name: 'tuned: the prefix attends to padding',
    file: 'attention_sm90.cu',
    edits: [['p.lengths ? static_cast<int>(p.lengths[b]) : p.keys0', 'p.keys0']],
    noticedBy: TUNED,
  },
  {
    name: 'tuned: the suffix attends to padding',
    file: 'expert_attention_sm90.cuh',
    edits: [['const int limit = prefix ? length :', 'const int limit = prefix ? p.cacheChunks * 16 :']],
    noticedBy: TUNED,
  },
  {
    name: 'tuned: RoPE turns the other way',
    file: 'gemm_epilogue.cuh',
    edits: [['v[0] * t0.x - v[4] * t0.y', 'v[0] * t0.x + v[4] * t0.y']],
    noticedBy: TUNED,
  },
  {
    name: "tuned: the expert's shift dropped",
    file: 'expert_projections_sm90.cuh',
    edits: [['return root[r] * at(r) + at(kShiftRow);', 'return root[r] * at(r);']],
    noticedBy: TUNED,
  },
  {
    name: 'tuned: biases dropped',
    file: 'gemm_epilogue.cuh',
    edits: [['v0 += b.x, v1 += b.y, v2 += b.z, v3 += b.w;', '']],
    noticedBy: TUNED,
  },
  {
    name: 'tuned fp8: scales of the tokens dropped',
    file: 'gemm_sm90.cu',
    edits: [['v0 *= scale * w.x, v1 *= scale * w.y;', 'v0 *= w.x, v1 *= w.y;']],
    noticedBy: FLOAT8,
  },
  {
    name: 'tuned fp8: scales of every other eight tokens dropped',
    file: 'gemm_epilogue.cuh',
    edits: [
      [
        'd[4 * i + 2] *= second * w.x, d[4 * i + 3] *= second * w.y;',
        'd[4 * i + 2] *= w.x, d[4 * i + 3] *= w.y;',
      ],
    ],
    noticedBy: FLOAT8,
  },
  {
    name: "tuned fp8: the expert's weights in another order",
    file: 'expert_sm90.cuh',
    edits: [
      ['upper = decoded(word, word >> 4, factor);', 'lower = decoded(word, word >> 4, factor);'],
      ['lower = decoded(word << 8, word << 4, factor);', 'upper = decoded(word << 8, word << 4, factor);'],
    ],
    noticedBy: FLOAT8,
  },
  {
    name: 'tuned: a warpgroup of the attention misses phases of the barriers that it waits for',
    file: 'attention_sm90.cu',
    edits: [['constexpr int kFull = 2 * kRing;', 'constexpr int kFull = kRing;']],
    noticedBy: SHARED,
  },
  {
    name: 'fp8: a scale by the power of two below',
    file: 'float8.cuh',
    edits: [['__float_as_uint(v) + 0x400000u', '__float_as_uint(v)']],
    noticedBy: ROUNDING,
  },
]

const root = new URL('../..', import.meta.url).pathname
const native = join(root, 'native')
const build = join(native, 'build/check')
const nvcc = process.env['NVCC'] ?? 'nvcc'
const scratch = mkdtempSync(join(tmpdir(), 'turbo-pi-gpu-mutations-'))
const run = promisify(execFile)
await run('cmake', ['-S', native, '-B', build, '-DTENSORRT_INCLUDE_DIR=mock'])
await run('cmake', ['--build', build, '--target', 'network_check', '--parallel'])

/** Compiles the kernels with the edits into a folder of their own, with the addon beside them. */
async function compiled(index: number, file?: string, edits: Mutation['edits'] = []): Promise<string> {
  const folder = join(scratch, String(index))
  cpSync(join(native, 'src/kernels'), join(folder, 'kernels'), { recursive: true })
  if (file) {
    const path = join(folder, 'kernels', file)
    let text = readFileSync(path, 'utf8')
    for (const [from, to] of edits) {
      if (text.split(from).length !== 2) throw new Error(`${file} does not hold exactly once: ${from}`)
      text = text.replace(from, () => to)
    }
    writeFileSync(path, text)
  }
  mkdirSync(folder, { recursive: true })
  cpSync(join(native, 'build/Release/turbo_pi.node'), join(folder, 'turbo_pi.node'))
  const target = ['-gencode', 'arch=compute_90a,code=sm_90a']
  const options = ['-std=c++17', '-O3', '--expt-relaxed-constexpr', '-fatbin', ...target]
  await run(nvcc, [...options, join(folder, 'kernels/kernels.cu'), '-o', join(folder, 'kernels.fatbin')])
  return folder
}

const CASES = { pi05: ['b_3cam_long_3steps', 'c_batch2_5steps'], pi0: ['a_2cam_10steps'] }

/** What was noticed, if anything was. */
async function noticed(folder: string, by: Mutation['noticedBy']): Promise<string | undefined> {
  const env = { ...process.env, TURBO_PI_NATIVE: join(folder, 'turbo_pi.node') }
  const failure = (file: string, args: string[]) =>
    run(file, args, { env, cwd: root, maxBuffer: 2 ** 28 }).then(
      () => undefined,
      error =>
        String(
          /FAIL.*|\d of \d cases.*/.exec(error.stdout)?.[0] ?? `no result: ${error.stderr || error.message}`,
        ),
    )
  if (by !== 'golden')
    return failure(join(build, 'check/network_check'), [join(folder, 'kernels.fatbin'), ...by])
  for (const [model, cases] of Object.entries(CASES))
    for (const name of cases) {
      const given = [
        '--model',
        `test/golden/model_${model}_tiny`,
        '--cases',
        `test/golden/cases/${model}_tiny_${name}.safetensors`,
      ]
      const found = await failure(process.execPath, [
        'dist/cli.js',
        'verify',
        '--runtime',
        'cuda',
        '--precision',
        'fp32',
        ...given,
      ])
      if (found) return `${name}: ${found}`
    }
  return undefined
}

try {
  const limit = pLimit(availableParallelism())
  const [sound, ...folders] = await Promise.all([
    limit(() => compiled(0)),
    ...mutations.map(({ file, edits }, i) => limit(() => compiled(i + 1, file, edits))),
  ])
  for (const by of ['golden' as const, TUNED, JOINED, FLOAT8, ROUNDING, SHARED]) {
    const found = await noticed(sound!, by)
    if (found) throw new Error(`fails before anything is changed: ${found}`)
  }
  let survivors = 0
  for (const [i, { name, noticedBy }] of mutations.entries()) {
    const found = await noticed(folders[i]!, noticedBy)
    const caught = found !== undefined && !found.startsWith('no result')
    if (!caught) survivors++
    console.log(`${caught ? 'caught  ' : 'SURVIVED'}  ${name}${found ? ` (${found})` : ''}`)
  }
  console.log(`\n${mutations.length - survivors} of ${mutations.length} mistakes caught`)
  process.exitCode = survivors ? 1 : 0
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
