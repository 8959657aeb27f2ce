/**
 * npm run bench:gpu: times of the CUDA runtime's kernels on this machine, full size, random weights, medians and 99th
 * percentiles of 200 calls (50 of batches). `--rows 1,2,4,8,16,32` times batches of these sizes alone, `--precision bf16,fp8`
 * in each precision, `--devices 1,2` on so many cards at once, and all three print a table at the end. `--compare` holds the
 * kernels against the reference kernels, batches of 16 and 32 rows too where `--rows` goes so far. `--shared 45` has three
 * processes compute on one card for 45 s each, all of whose bits must stay the same. `--reference python3` runs
 * the PyTorch reference (tools/gpu-reference) in turns with it; `--json` prints the profile that `turbo-pi capacity` takes,
 * with `--prepare-ms` for decoding, which is not measured here.
 */
import path from 'node:path'
import { parseArgs } from 'node:util'
import { compileKernels, findNvcc } from '../native/kernels.mjs'
import { nativeRoot, requireCompiler, run, runQuietly } from '../native/tools.mjs'
import { gpuProfile as profile } from './gpu-profile.mjs'
import { gpuTable } from './gpu-table.mjs'

const { values } = parseArgs({
  options: {
    reference: { type: 'string' },
    rounds: { type: 'string', default: '200' },
    compare: { type: 'boolean', default: false },
    shared: { type: 'string' },
    rows: { type: 'string' },
    precision: { type: 'string' },
    devices: { type: 'string' },
    json: { type: 'boolean', default: false },
    'prepare-ms': { type: 'string', default: '0' },
  },
})
const refuse = message => {
  console.error(message)
  process.exit(1)
}
const list = (name, value, fits, expected) => {
  const bad = value.split(',').find(item => !fits.test(item))
  if (bad !== undefined) refuse(`--${name} takes ${expected}, separated by commas; "${bad}" is not one`)
  return value.split(',')
}
const precisions = list('precision', values.precision ?? 'bf16', /^(bf16|fp8)$/, 'bf16 and fp8')
const devices = list('devices', values.devices ?? '1', /^[1-9]\d?$/, 'numbers of cards from 1 on')
if (values.shared !== undefined && !/^[1-9]\d{0,3}$/.test(values.shared))
  refuse(`--shared takes a number of seconds from 1 on; "${values.shared}" is not one`)
if (values.json && (precisions.length > 1 || devices.join() !== '1'))
  refuse(
    '--json prints the profile of one card in one precision: give one --precision, and --devices 1 or none',
  )
requireCompiler('npm run bench:gpu')
const build = path.join(nativeRoot, 'build/check')
runQuietly('cmake', ['-S', nativeRoot, '-B', build, '-DTENSORRT_INCLUDE_DIR=mock'])
runQuietly('cmake', ['--build', build, '--target', 'network_check', '--parallel'])
const kernels = process.env.TURBO_PI_KERNELS ?? path.join(build, 'kernels.fatbin')
const nvcc = findNvcc()
if (nvcc) compileKernels(nvcc, kernels)
const tabled = values.rows !== undefined || values.precision !== undefined || values.devices !== undefined
const sizes = ['--rows', values.rows ?? '1,2,4,8']
const ours = (precision, options, call = run) => {
  const flags = precision === 'fp8' ? ['--float8'] : []
  return call(path.join(build, 'check/network_check'), [
    kernels,
    '--rounds',
    values.rounds,
    ...flags,
    ...options,
  ])
}
const batches = precision =>
  devices
    .map(cards => {
      const printed = ours(
        precision,
        [...(cards === '1' ? ['--batch'] : ['--cards', cards]), ...sizes],
        runQuietly,
      )
      if (!values.json) process.stdout.write(printed)
      return printed
    })
    .join('')
const reference = (...sizes) => {
  if (values.reference)
    run(values.reference, [path.join(nativeRoot, '../tools/gpu-reference/pi05_reference.py'), ...sizes])
}
if (values.json) {
  console.log(
    JSON.stringify(
      profile(batches(precisions[0]), Number(values['prepare-ms']), { precision: precisions[0] }),
    ),
  )
  process.exit()
}
if (values.shared !== undefined) {
  for (const precision of precisions) ours(precision, ['--again', values.shared, '--processes', '3'])
  process.exit()
}
if (values.compare)
  for (const precision of precisions) {
    const compare = ['--compare', ...(values.rows ? sizes : [])]
    ours(precision, compare)
    // The vision tower's 8-bit floats, which the kernels have and fp8 leaves off (docs/reference/fp8.md).
    if (precision === 'fp8') ours(precision, [...compare, '--vision'])
  }
if (tabled) {
  console.log(
    `\n${gpuTable(Object.fromEntries(precisions.map(precision => [precision, batches(precision)])))}`,
  )
  process.exit()
}
ours('bf16', ['--time', '--batch', '--lanes'])
reference('2', '64', '10', '10')
ours('bf16', ['--time', '--horizon', '50'])
reference('3', '200', '50', '10')
ours('bf16', ['--time'])
