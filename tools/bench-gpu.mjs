/**
 * npm run bench:gpu: times of the CUDA runtime's kernels on this machine, full size, random weights, medians and 99th
 * percentiles of 200 calls. `--reference python3` runs the PyTorch reference (tools/gpu-reference) in turns with it.
 */
import path from 'node:path'
import { parseArgs } from 'node:util'
import { compileKernels, findNvcc } from '../native/kernels.mjs'
import { nativeRoot, requireCompiler, run, runQuietly } from '../native/tools.mjs'

const { values } = parseArgs({
  options: {
    reference: { type: 'string' },
    rounds: { type: 'string', default: '200' },
    compare: { type: 'boolean', default: false },
  },
})
requireCompiler('npm run bench:gpu')
const build = path.join(nativeRoot, 'build/check')
runQuietly('cmake', ['-S', nativeRoot, '-B', build, '-DTENSORRT_INCLUDE_DIR=mock'])
runQuietly('cmake', ['--build', build, '--target', 'network_check', '--parallel'])
const kernels = process.env.TURBO_PI_KERNELS ?? path.join(build, 'kernels.fatbin')
const nvcc = findNvcc()
if (nvcc) compileKernels(nvcc, kernels)
const ours = (...options) =>
  run(path.join(build, 'check/network_check'), [kernels, '--rounds', values.rounds, ...options])
const reference = (...sizes) => {
  if (values.reference)
    run(values.reference, [path.join(nativeRoot, '../tools/gpu-reference/pi05_reference.py'), ...sizes])
}
if (values.compare) ours('--compare')
ours('--time', '--batch')
reference('2', '64', '10', '10')
ours('--time', '--horizon', '50')
reference('3', '200', '50', '10')
ours('--time')
