/**
 * npm run bench:gpu: times of the CUDA runtime's kernels on this machine, full size, random weights, medians and 99th
 * percentiles of 200 calls (50 of batches). `--rows 1,2,4,8,16,32` times batches of these sizes alone; `--compare` holds the
 * kernels against the reference kernels, batches of 16 and 32 rows too where `--rows` goes so far. `--reference python3` runs
 * the PyTorch reference (tools/gpu-reference) in turns with it; `--json` prints the profile that `turbo-pi capacity` takes,
 * with `--prepare-ms` for decoding, which is not measured here.
 */
import path from 'node:path'
import { parseArgs } from 'node:util'
import { compileKernels, findNvcc } from '../native/kernels.mjs'
import { nativeRoot, requireCompiler, run, runQuietly } from '../native/tools.mjs'
import { gpuProfile as profile } from './gpu-profile.mjs'

const { values } = parseArgs({
  options: {
    reference: { type: 'string' },
    rounds: { type: 'string', default: '200' },
    compare: { type: 'boolean', default: false },
    rows: { type: 'string' },
    json: { type: 'boolean', default: false },
    'prepare-ms': { type: 'string', default: '0' },
  },
})
requireCompiler('npm run bench:gpu')
const build = path.join(nativeRoot, 'build/check')
runQuietly('cmake', ['-S', nativeRoot, '-B', build, '-DTENSORRT_INCLUDE_DIR=mock'])
runQuietly('cmake', ['--build', build, '--target', 'network_check', '--parallel'])
const kernels = process.env.TURBO_PI_KERNELS ?? path.join(build, 'kernels.fatbin')
const nvcc = findNvcc()
if (nvcc) compileKernels(nvcc, kernels)
const ours = (...options) => {
  const call = values.json ? runQuietly : run
  return call(path.join(build, 'check/network_check'), [kernels, '--rounds', values.rounds, ...options])
}
const reference = (...sizes) => {
  if (values.reference)
    run(values.reference, [path.join(nativeRoot, '../tools/gpu-reference/pi05_reference.py'), ...sizes])
}
const sizes = values.rows ? ['--rows', values.rows] : []
if (values.json) {
  console.log(
    JSON.stringify(
      profile(ours(...(values.rows ? [] : ['--time']), '--batch', ...sizes), Number(values['prepare-ms'])),
    ),
  )
  process.exit()
}
if (values.compare) ours('--compare', ...sizes)
if (values.rows) {
  ours('--batch', ...sizes)
  process.exit()
}
ours('--time', '--batch', '--lanes')
reference('2', '64', '10', '10')
ours('--time', '--horizon', '50')
reference('3', '200', '50', '10')
ours('--time')
