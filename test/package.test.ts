import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { addonPath } from '../src/runtime/gpu/addon.js'
import { locateOnnxRuntime } from '../src/runtime/onnxruntime.js'
import { repositoryPath } from './support/served-policy.js'

interface Manifest {
  version: string
  scripts: Record<string, string>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
  peerDependencies: Record<string, string>
}
const read = (path: string) => readFileSync(repositoryPath(path), 'utf8')
const manifest = JSON.parse(read('package.json')) as Manifest
const onnx = '../src/runtime/onnxruntime.js'

t.test('npm ci runs no install script and names no host: npm run lock writes the lock so', async t => {
  const lock = read('package-lock.json')
  t.notMatch(lock, /"hasInstallScript"/)
  t.notMatch(lock, /"resolved": "[a-z+]+:/)
  t.notMatch(read('.npmrc'), /ignore-scripts|registry=/, 'npm pack has to build')
})

t.test('packages of one release have one version', async t => {
  const client = JSON.parse(read('clients/typescript/package.json')) as Manifest
  t.equal(client.version, manifest.version)
  t.same(Object.keys(client.dependencies), ['ws'])
  t.equal(client.dependencies['ws'], manifest.dependencies['ws'])
  for (const [name, version] of Object.entries(manifest.peerDependencies))
    if (name.startsWith('@turbo-pi/')) t.equal(version, manifest.version, name)
  const runtime = manifest.devDependencies['onnxruntime-node']
  t.equal(manifest.dependencies['onnxruntime-common'], runtime, 'what is packed needs this one')
  t.equal(manifest.peerDependencies['onnxruntime-node'], runtime)
})

t.test('what npm starts is the last process of its shell, so that signals reach it', async t => {
  for (const name of ['start', 'bench', 'bench:full', 'loadtest'])
    t.match(manifest.scripts[name], /&& exec \S+/, name)
})

t.test('ONNX Runtime is taken from the package, else from beside it', async t => {
  const packed = pathToFileURL(`${t.testdir({ bin: { 'napi-v6': { linux: { x64: {} } } } })}/`)
  const beside = () => 'file:///beside/index.js'
  const absent = () => {
    throw new Error('Cannot find package')
  }
  t.equal(locateOnnxRuntime('linux/x64', packed, absent), new URL('dist/index.js', packed).href)
  t.equal(locateOnnxRuntime('darwin/arm64', packed, beside), 'file:///beside/index.js')
  t.throws(() => locateOnnxRuntime('win32/x64', packed, absent), {
    code: 'RUNTIME_UNAVAILABLE',
    message: /linux\/x64 and linux\/arm64, and this is win32\/x64/,
  })
})

t.test('float16 tensors hold bits on every Node.js', async t => {
  // In a process of its own: the library looks for Float16Array once.
  const script = `
    globalThis.Float16Array ??= class extends Uint16Array {}
    const { loadOnnxRuntime } = await import(${JSON.stringify(new URL(onnx, import.meta.url).href)})
    const { Tensor } = await loadOnnxRuntime()
    console.log(new Tensor('float16', Uint16Array.of(15360), [1]).data.constructor.name, typeof Float16Array)`
  const args = ['--import', 'tsx', '--input-type', 'module', '--eval', script]
  const output = execFileSync(process.execPath, args, { cwd: repositoryPath('.'), encoding: 'utf8' })
  t.equal(output.trim(), 'Uint16Array function')
})

t.test('the native addon: built here, else the package of the platform', async t => {
  const given = process.env['TURBO_PI_NATIVE']
  delete process.env['TURBO_PI_NATIVE']
  t.teardown(() => {
    if (given !== undefined) process.env['TURBO_PI_NATIVE'] = given
  })
  const built = join(t.testdir(), 'turbo_pi.node')
  const asked: string[] = []
  const resolve = (file: string) => `/modules/${asked[asked.push(file) - 1]}`
  const name = `@turbo-pi/native-${process.platform}-${process.arch}/turbo_pi.node`
  t.equal(addonPath(built, resolve), `/modules/${name}`)
  writeFileSync(built, '')
  t.equal(addonPath(built, resolve), built)
  t.same(asked, [name])
})

t.test('npm run pack:native packs the addon and the kernels for one processor', async t => {
  const { pack } = (await import(new URL('../native/pack.mjs', import.meta.url).href)) as {
    pack(built: string, cpu: string, folder: string): void
  }
  const folder = t.testdir({ built: { 'turbo_pi.node': 'addon', 'kernels.fatbin': 'kernels' } })
  pack(join(folder, 'built'), 'arm64', join(folder, 'out'))
  const tarball = join(folder, 'out', `turbo-pi-native-linux-arm64-${manifest.version}.tgz`)
  mkdirSync(join(folder, 'unpacked'))
  execFileSync('tar', ['-xzf', tarball, '-C', join(folder, 'unpacked')])
  const packed = JSON.parse(readFileSync(join(folder, 'unpacked/package/package.json'), 'utf8'))
  t.match(packed, { name: '@turbo-pi/native-linux-arm64', os: ['linux'], cpu: ['arm64'], libc: ['glibc'] })
  t.equal(readFileSync(join(folder, 'unpacked/package/kernels.fatbin'), 'utf8'), 'kernels')
})

t.test('a server that npx started ends when npx is gone', async t => {
  const module = new URL('../src/commands/serve-process.js', import.meta.url).href
  const server = `import(${JSON.stringify(module)}).then(({ endWithParent }) => { endWithParent(); console.log(process.pid); setTimeout(() => {}, 600000) })`
  // The shell between: it passes no signal on.
  const shell = spawn('sh', ['-c', '"$@"; :', 'sh', process.execPath, '--import', 'tsx', '--eval', server], {
    cwd: repositoryPath('.'),
    env: { ...process.env, npm_lifecycle_event: 'npx' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said] = await once(shell.stdout, 'data')
  const pid = Number(String(said).trim())
  t.teardown(() => {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {}
  })
  // The server holds the pipe open for as long as it lives.
  const ended = once(shell.stdout, 'close').then(() => true)
  shell.kill('SIGTERM')
  t.equal(await Promise.race([ended, sleep(30_000, false, { ref: false })]), true)
})
