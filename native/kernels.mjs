/**
 * Compiles the CUDA kernels of src/kernels into one image for all cards. `node native/kernels.mjs [OUT]` also prints what
 * each kernel takes, and fails when a hot one keeps values in memory that belong in registers, or one does not wait for the
 * kernels before it.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { nativeRoot } from './tools.mjs'

/** Machine code for these, and PTX of the oldest for cards that come later. */
const MACHINES = ['80', '89', '90a', '100', '110', '120']
const OLDEST = '80'

const HOT = /^(tiles_|attention_|norm_|expert_step_)/
/** Started when all before them has ended. */
const COOPERATIVE = /^expert_step_/
/** From this machine on a kernel may start before the one ahead of it has ended. */
const STARTS_EARLY = '90a'

const SOURCE = path.join(nativeRoot, 'src/kernels/kernels.cu')
const OPTIONS = ['-std=c++17', '-O3', '--expt-relaxed-constexpr']

/** nvcc of `$NVCC`, of the path or of the usual place; undefined where there is none. */
export function findNvcc() {
  const places = [process.env.NVCC, 'nvcc', '/usr/local/cuda/bin/nvcc'].filter(Boolean)
  return places.find(nvcc => spawnSync(nvcc, ['--version'], { stdio: 'ignore' }).status === 0)
}

/** What nvcc says. Ends the process when it fails. */
function compile(nvcc, options, out) {
  const all = [...OPTIONS, ...options, SOURCE, '-o', out]
  const result = spawnSync(nvcc, all, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  const log = `${result.stdout ?? ''}${result.stderr ?? ''}`
  if (result.status === 0) return log
  console.error(log || result.error?.message)
  process.exit(1)
}

/** Compiles to `out`; returns what ptxas says of each kernel. Ends the process when that fails. */
export function compileKernels(nvcc, out) {
  const targets = MACHINES.flatMap(machine => ['-gencode', `arch=compute_${machine},code=sm_${machine}`])
  const oldest = ['-gencode', `arch=compute_${OLDEST},code=compute_${OLDEST}`]
  const log = compile(nvcc, ['-fatbin', '-Xptxas', '-v', '--threads', '0', ...targets, ...oldest], out)
  const kernels =
    /entry function '(\w+)' for '(\w+)'[\s\S]*?(\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers/g
  return [...log.matchAll(kernels)].map(([, name, machine, stores, loads, registers]) => ({
    name,
    machine,
    spills: Number(stores),
    loads: Number(loads),
    registers: Number(registers),
  }))
}

/** Kernels that do not wait for those before them, by their PTX. */
function impatientKernels(nvcc) {
  const folder = mkdtempSync(path.join(tmpdir(), 'kernels-'))
  try {
    const ptx = path.join(folder, 'kernels.ptx')
    compile(nvcc, ['-ptx', `-arch=compute_${STARTS_EARLY}`], ptx)
    const [, ...entries] = readFileSync(ptx, 'utf8').split(/^(?:\.visible )?\.entry /m)
    return entries
      .filter(entry => !entry.includes('griddepcontrol.wait'))
      .map(entry => /^\w+/.exec(entry)[0])
      .filter(name => !COOPERATIVE.test(name))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const nvcc = findNvcc()
  if (!nvcc) {
    console.error('no nvcc here: install the CUDA toolkit, or nvidia-cuda-nvcc from PyPI, and set NVCC to it')
    process.exit(1)
  }
  const [out = path.join(nativeRoot, 'build/Release/kernels.fatbin')] = process.argv.slice(2)
  const seen = compileKernels(nvcc, out)
  for (const { name, machine, registers, spills, loads } of seen.filter(({ name }) => HOT.test(name)))
    console.log(
      `${machine.padEnd(7)} ${name.padEnd(26)} ${registers} registers, spills ${spills}/${loads} bytes`,
    )
  const bad = seen.filter(({ name, spills }) => HOT.test(name) && spills > 0)
  for (const { name, machine, spills } of bad) console.error(`${name} spills ${spills} bytes on ${machine}`)
  const impatient = impatientKernels(nvcc)
  for (const name of impatient) console.error(`${name} does not wait for the kernels before it`)
  console.log(`${existsSync(out) ? 'built' : 'could not build'} ${path.relative(process.cwd(), out)}`)
  process.exit(bad.length + impatient.length > 0 ? 1 : 0)
}
