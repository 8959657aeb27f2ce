import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryPath } from '../support/served-policy.js'

const MB = 1e6

/** What must be in the server's package. */
const NEEDED = [
  'dist/cli.js',
  'dist/index.d.ts',
  'dist/client/index.js',
  'dist/client/browser.js',
  'dist/page/index.html',
  'dist/onnxruntime/bin/napi-v6/linux/x64/onnxruntime_binding.node',
  'dist/onnxruntime/bin/napi-v6/linux/arm64/onnxruntime_binding.node',
  'policies/tabletop/model.safetensors',
  'policies/tiny-libero/model.safetensors',
  'openapi/openapi.json',
  'openapi/asyncapi.json',
  'native/CMakeLists.txt',
  'native/build.mjs',
  'native/src/addon.cc',
  'native/test/mock/NvInfer.h',
  'examples/infer.ts',
  'README.md',
  'CHANGELOG.md',
  'LICENSE',
]
/** What has no place in a package: tests, maps, build leftovers, other platforms' binaries, what only a checkout uses. */
const STRAY =
  /\.test\.|\.map$|\.tsbuildinfo$|\.draft$|^test\/|^training\/|^tools\/|^docker\/|^native\/(check|build[^.]*)\/|^native\/test\/(?!mock\/)|napi-v6\/(win32|darwin)|libero-spatial/

/** The files of a tarball. */
const filesOf = (tarball: string) =>
  execFileSync('tar', ['--list', '--gzip', '--file', tarball], { encoding: 'utf8', maxBuffer: 2 ** 26 })
    .trim()
    .split('\n')
    .map(file => file.replace(/^package\//, ''))

/** Throws when a file lacks or is too much, or when it is larger than what was promised. */
export function checkServer(tarball: string): string {
  const files = filesOf(tarball)
  const present = new Set(files)
  demand(
    'files that are missing',
    [...NEEDED, ...documentsOfHelp()].filter(file => !present.has(file)),
  )
  demand(
    'files that have no place in it',
    files.filter(file => STRAY.test(file)),
  )
  return sized(tarball, 45 * MB, files.length)
}

export function checkClient(tarball: string): string {
  const files = filesOf(tarball)
  demand(
    'files that have no place in it',
    files.filter(file => !/^(dist\/(client|contract|errors)|package\.json$|README\.md$|LICENSE$)/.test(file)),
  )
  return sized(tarball, 0.1 * MB, files.length)
}

/** What the help of the commands refers to. */
function documentsOfHelp(): string[] {
  const source = execFileSync('grep', ['-rhoE', 'docs/[a-z/-]+\\.md', repositoryPath('src/commands')], {
    encoding: 'utf8',
  })
  return [...new Set(source.trim().split('\n'))]
}

function demand(what: string, files: readonly string[]): void {
  if (files.length > 0) throw new Error(`${what}: ${files.join(', ')}`)
}

function sized(tarball: string, limit: number, files: number): string {
  const { size } = statSync(tarball)
  if (size > limit) throw new Error(`${tarball} has ${size} bytes; at most ${limit} were promised`)
  return `${(size / MB).toFixed(size < MB ? 3 : 1)} MB packed, ${files} files`
}

/** Bytes on the disk that the files of a folder take, in MB. */
export function installedMb(project: string): number {
  const output = execFileSync('du', ['-s', '--block-size=1', join(project, 'node_modules')], {
    encoding: 'utf8',
  })
  return Number.parseInt(output, 10) / MB
}
