/**
 * Part of `npm pack`: puts ONNX Runtime into dist/onnxruntime, from the onnxruntime-node of the checkout. As a dependency,
 * onnxruntime-node runs an install script that downloads CUDA libraries from elsewhere than the registry, on Linux x64 and
 * under npm 10 and 11 whatever our own settings; a copy inside the package has no script, no dependencies beside
 * onnxruntime-common, and the binaries of Linux alone.
 * `node tools/pack-onnxruntime.mjs [PLATFORM…]`, as linux/x64; `--remove` takes the copy away.
 */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const PLATFORMS = ['linux/x64', 'linux/arm64']

const root = fileURLToPath(new URL('..', import.meta.url))
const source = path.join(root, 'node_modules/onnxruntime-node')
const target = path.join(root, 'dist/onnxruntime')
const asked = process.argv.slice(2)
rmSync(target, { recursive: true, force: true })
if (asked.includes('--remove')) process.exit()

const { name, version, license, repository, main } = JSON.parse(
  readFileSync(path.join(source, 'package.json'), 'utf8'),
)
const copy = file => cpSync(path.join(source, file), path.join(target, file), { recursive: true })
for (const file of readdirSync(path.join(source, 'dist'))) if (file.endsWith('.js')) copy(`dist/${file}`)
for (const platform of asked.length > 0 ? asked : PLATFORMS) copy(`bin/napi-v6/${platform}`)
copy('README.md')
writeFileSync(
  path.join(target, 'package.json'),
  `${JSON.stringify({ name, version, license, repository, main, private: true }, null, 2)}\n`,
)
