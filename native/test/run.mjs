/**
 * npm run test:native: the C++ tests plain and under the sanitizers, then the addon through Node, all with the stand-in
 * CUDA and TensorRT libraries; no GPU is used.
 */
import { mkdtempSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { compileAddon, nativeRoot, requireCompiler, run } from '../tools.mjs'

requireCompiler('npm run test:native')
const root = path.join(nativeRoot, 'build-test')
const jobs = String(Math.max(1, os.availableParallelism()))

for (const [name, sanitizers] of [
  ['plain', ''],
  ['address', 'address,undefined'],
  ['thread', 'thread'],
]) {
  const build = path.join(root, name)
  console.log(`\n# C++ tests, ${sanitizers === '' ? 'plain' : `${sanitizers} sanitizer`}`)
  const definitions = [
    'TENSORRT_INCLUDE_DIR=mock',
    `TURBO_PI_SANITIZE=${sanitizers}`,
    'CMAKE_UNITY_BUILD=ON',
    'CMAKE_BUILD_TYPE=Release',
  ]
  run('cmake', ['-S', nativeRoot, '-B', build, ...definitions.map(one => `-D${one}`)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  run('cmake', ['--build', build, '--parallel', jobs])
  run('ctest', ['--test-dir', build, '--output-on-failure', '--no-tests=error'])
}

console.log('\n# The addon through Node')
compileAddon(path.join(root, 'addon'), { TENSORRT_INCLUDE_DIR: 'mock', CMAKE_UNITY_BUILD: 'ON' })
const model = mkdtempSync(path.join(os.tmpdir(), 'turbo-pi-toy-'))
run(path.join(root, 'plain/test/toy_model_writer'), [model])
const environment = {
  ...process.env,
  LD_LIBRARY_PATH: path.join(root, 'plain/fake'),
  TURBO_PI_NATIVE: path.join(root, 'addon/Release/turbo_pi.node'),
  TOY_MODEL: model,
}
for (const script of ['addon.mjs', 'exit.mjs'])
  run(process.execPath, ['--expose-gc', path.join(nativeRoot, 'test/node', script)], { env: environment })
run(process.execPath, ['--import', 'tsx', path.join(nativeRoot, 'test/node/runtime.ts')], {
  env: environment,
})
