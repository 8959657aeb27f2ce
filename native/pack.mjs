/**
 * npm run pack:native [-- FOLDER]: compiles for this machine's processor and packs what came out as the optional package
 * @turbo-pi/native-linux-x64 or -arm64 into FOLDER (default: here). It needs nvcc, and TensorRT's headers by name in
 * TENSORRT_INCLUDE_DIR: an addon compiled with the tests' stand-in headers refuses the real library.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { findNvcc } from './kernels.mjs'
import { nativeRoot, run } from './tools.mjs'

const root = path.dirname(nativeRoot)
const FILES = ['turbo_pi.node', 'kernels.fatbin']

/** What a whole package cannot be compiled without; undefined when it is there. */
function missing() {
  if (process.platform !== 'linux') return `it packs for Linux, and this is ${process.platform}`
  if (!['', 'auto', 'mock'].includes(process.env.TENSORRT_INCLUDE_DIR ?? ''))
    return findNvcc() ? undefined : 'nvcc is not there, which compiles the kernels; NVCC may name it'
  return 'TENSORRT_INCLUDE_DIR must name the folder of NvInfer.h'
}

/** Packs the files in `built` for linux on `cpu` into `folder`. */
export function pack(built, cpu, folder) {
  const { version, license, repository, homepage, bugs } = JSON.parse(
    readFileSync(path.join(root, 'package.json'), 'utf8'),
  )
  const name = `@turbo-pi/native-linux-${cpu}`
  const staging = mkdtempSync(path.join(os.tmpdir(), 'turbo-pi-native-'))
  try {
    const manifest = {
      name,
      version,
      description: `The native addon and the CUDA kernels of turbo-pi, compiled for Linux on ${cpu}.`,
      license,
      repository: { ...repository, directory: 'native' },
      homepage,
      bugs,
      os: ['linux'],
      cpu: [cpu],
      libc: ['glibc'],
      exports: Object.fromEntries([...FILES, 'package.json'].map(file => [`./${file}`, `./${file}`])),
      files: FILES,
    }
    writeFileSync(path.join(staging, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
    writeFileSync(
      path.join(staging, 'README.md'),
      `# ${name}\n\nThe part of [turbo-pi](${homepage}) that runs policies on NVIDIA GPUs, compiled. Install it beside the same\nversion of turbo-pi, which finds it by itself: \`npm install turbo-pi ${name}\`.\n`,
    )
    for (const file of FILES) cpSync(path.join(built, file), path.join(staging, file))
    cpSync(path.join(root, 'LICENSE'), path.join(staging, 'LICENSE'))
    mkdirSync(folder, { recursive: true })
    run('npm', ['pack', staging, '--pack-destination', folder, '--loglevel', 'error'])
  } finally {
    rmSync(staging, { recursive: true, force: true })
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const reason = missing()
  if (reason) {
    console.error(`npm run pack:native: ${reason}. See docs/guides/gpu.md.`)
    process.exit(1)
  }
  await import('./build.mjs')
  pack(path.join(nativeRoot, 'build/Release'), process.arch, path.resolve(process.argv[2] ?? '.'))
}
