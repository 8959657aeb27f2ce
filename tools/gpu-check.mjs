/**
 * npm run gpu:check [-- --out DIR] [--policy DIR]: checks the native runtime on this machine's GPU and writes one report, as
 * Markdown and JSON, to docs/measurements. It does what the machine allows: the CUDA side with stand-in kernels where
 * nvcc is there, the same under compute-sanitizer, and where TensorRT is there, engines of a policy (the bundled one unless
 * --policy names another): build and gate, verify, bench, load.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { nativeRoot, requireCompiler, run } from '../native/tools.mjs'

const root = path.dirname(nativeRoot)
const { values: options } = parseArgs({ options: { out: { type: 'string' }, policy: { type: 'string' } } })
const out = path.resolve(options.out ?? path.join(root, 'docs/measurements'))
const build = path.join(nativeRoot, 'build-check')

/** Probe through the addon, when it was built. */
function probe() {
  const file = process.env.TURBO_PI_NATIVE ?? path.join(nativeRoot, 'build/Release/turbo_pi.node')
  if (!existsSync(file))
    return { available: false, reason: `${file} is not there`, hint: 'npm run build:native' }
  return createRequire(import.meta.url)(file).probe(0)
}

/** PyTorch brings cuBLAS along; its folder is added to the loader's path. */
function environmentWithCublas() {
  const script =
    "import glob,sys\nprint(':'.join(sorted({f.rsplit('/',1)[0] for p in sys.path for f in glob.glob(p+'/nvidia/**/libcublas.so.1*',recursive=True)})))"
  const found = spawnSync('python3', ['-c', script], { encoding: 'utf8' })
  const folders = found.status === 0 ? found.stdout.trim() : ''
  const paths = [process.env.LD_LIBRARY_PATH, folders].filter(Boolean).join(':')
  return { ...process.env, LD_LIBRARY_PATH: paths }
}

function cudaCheck() {
  const program = path.join(build, 'check/gpu_check')
  const kernels = path.join(build, 'check/kernels.ptx')
  run('cmake', ['-S', nativeRoot, '-B', build, '-DCMAKE_BUILD_TYPE=Release', '-DTENSORRT_INCLUDE_DIR=mock'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const compiled = spawnSync(
    'cmake',
    ['--build', build, '--target', 'gpu_check', '--parallel', String(os.availableParallelism())],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
    },
  )
  if (compiled.status !== 0) {
    console.error(compiled.stdout, compiled.stderr)
    console.error(
      'gpu:check could not compile the stand-in kernels: is nvcc on the PATH or in /usr/local/cuda/bin?',
    )
    process.exit(1)
  }
  const env = environmentWithCublas()
  const json = path.join(build, 'report.json')
  const full = spawnSync(program, [kernels, json], { stdio: 'inherit', env })
  if (full.status !== 0 && !existsSync(json)) process.exit(1)
  return { report: JSON.parse(readFileSync(json, 'utf8')), sanitizers: sanitizers(program, kernels, env) }
}

function sanitizers(program, kernels, env) {
  const tools = [
    ['memcheck', ['--leak-check', 'full']],
    ['racecheck', []],
    ['synccheck', []],
  ]
  return tools.map(([tool, flags]) => {
    const ran = spawnSync(
      'compute-sanitizer',
      [
        '--tool',
        tool,
        ...flags,
        '--error-exitcode',
        '9',
        program,
        kernels,
        path.join(build, `${tool}.json`),
        '--quick',
      ],
      { encoding: 'utf8', env, timeout: 240_000 },
    )
    if (ran.error?.code === 'ENOENT')
      return { name: `compute-sanitizer ${tool}`, ok: false, detail: 'compute-sanitizer was not found' }
    const lines = `${ran.stdout}${ran.stderr}`.trim().split('\n')
    const summary = lines
      .filter(line => /SUMMARY/.test(line))
      .join('; ')
      .replaceAll('=', '')
      .trim()
    const ok = ran.status === 0
    if (!ok) console.log(lines.slice(-60).join('\n'))
    console.log(`${ok ? 'ok  ' : 'FAIL'} compute-sanitizer ${tool}: ${summary}`)
    return { name: `compute-sanitizer ${tool}`, ok, detail: summary || lines.at(-1) }
  })
}

/** Builds the engines, which gates them, then verifies and measures, through the command line tool. */
function engineChecks(policy) {
  const given = policy === undefined ? [] : ['--policy', path.resolve(policy)]
  const steps = [
    ['build and gate', ['build', '--runtime', 'tensorrt', ...given]],
    ['verify', ['verify', '--against', 'random', '--runtime', 'tensorrt', ...given]],
    ['bench', ['bench', '--runtime', 'tensorrt', ...given]],
  ]
  run(process.execPath, [
    path.join(root, 'node_modules/typescript/bin/tsc'),
    '-p',
    path.join(root, 'tsconfig.build.json'),
  ])
  const cli = path.join(root, 'dist/cli.js')
  const results = steps.map(([name, args]) =>
    said(`turbo-pi ${name}`, spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8' })),
  )
  const port = '8711'
  const server = spawn(process.execPath, [cli, 'serve', '--runtime', 'tensorrt', '--port', port, ...given], {
    stdio: 'ignore',
  })
  const url = `http://127.0.0.1:${port}`
  try {
    const waiting = [
      '--fail',
      '--silent',
      '--retry',
      '120',
      '--retry-delay',
      '1',
      '--retry-all-errors',
      `${url}/readyz`,
    ]
    if (spawnSync('curl', waiting).status !== 0)
      return [...results, { name: 'load', ok: false, detail: 'the server was not ready in two minutes' }]
    const load = [
      '--import',
      'tsx',
      path.join(root, 'loadtest/index.ts'),
      '--url',
      url,
      '--scenarios',
      'closed,robots,burst',
    ]
    return [...results, said('load', spawnSync(process.execPath, load, { encoding: 'utf8', cwd: root }))]
  } finally {
    server.kill()
  }
}

function said(name, { status, stdout, stderr }) {
  const detail = `${stdout}${stderr}`.trim()
  console.log(detail)
  return { name, ok: status === 0, detail }
}

function markdown(report) {
  const cell = text => String(text).replaceAll('|', '\\|').replaceAll('\n', '<br>')
  const figures = Object.entries(report.figures)
  const lines = [
    `# GPU check: ${report.figures.device}`,
    '',
    `Printed by \`npm run gpu:check\` on ${report.date}. ${report.passed ? 'Every check passed.' : 'Not every check passed.'}`,
    '',
    '| | |',
    '|---|---|',
    ...figures
      .filter(([, value]) => typeof value === 'string')
      .map(([name, value]) => `| ${cell(name)} | ${cell(value)} |`),
    `| Node addon | ${cell(report.probe.available ? `TensorRT ${report.probe.tensorrtVersion}` : report.probe.reason)} |`,
    '',
    '## Checks',
    '',
    '| check | result | seen |',
    '|---|---|---|',
    ...report.checks.map(
      check => `| ${cell(check.name)} | ${check.ok ? 'passed' : '**failed**'} | ${cell(check.detail)} |`,
    ),
    '',
    '## Figures',
    '',
    'The stand-in kernels carry the toy model of `native/test/toy_model.h` in buffers of about pi0.5’s sizes. Overlap is',
    'measured twice: with loads that each hold one multiprocessor, which shows what streams and events allow, and with loads',
    'that want the whole GPU, which shows what is left when the lanes compete. Matrix products are row-major bf16 with',
    'float32 sums through cuBLAS, m×k×n, each over weights larger in sum than the L2 cache.',
    '',
    '| figure | value |',
    '|---|---|',
    ...figures
      .filter(([, value]) => typeof value !== 'string')
      .map(([name, value]) => `| ${cell(name)} | ${value.value} ${value.unit} |`),
    '',
  ]
  return lines.join('\n')
}

requireCompiler('npm run gpu:check')
const probed = await probe()
console.log(
  `addon: ${probed.available ? `TensorRT ${probed.tensorrtVersion}` : `${probed.reason}${probed.hint ? `; ${probed.hint}` : ''}`}`,
)
const { report, sanitizers: sanitized } = cudaCheck()
const engines = []
if (probed.available && options.policy !== undefined)
  engines.push(...engineChecks(path.resolve(options.policy)))
const checks = [...report.checks, ...sanitized, ...engines]
const passed = checks.every(check => check.ok)
const whole = {
  date: new Date().toISOString().slice(0, 10),
  passed,
  probe: probed,
  checks,
  figures: report.figures,
}
const name = `gpu-${String(report.figures.device)
  .toLowerCase()
  .replaceAll(/[^a-z0-9]+/g, '-')}`
mkdirSync(out, { recursive: true })
writeFileSync(path.join(out, `${name}.json`), `${JSON.stringify(whole, null, 2)}\n`)
writeFileSync(path.join(out, `${name}.md`), markdown(whole))
console.log(`wrote ${path.join(out, name)}.md and .json`)
process.exit(passed ? 0 : 1)
