import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { repositoryPath, servePolicy } from './support/served-policy.js'

const run = promisify(execFile)
const available = async (command: string) =>
  run(command, ['--version']).then(
    () => true,
    () => false,
  )

/** The C++ example, compiled; undefined where there is no compiler, or no libcurl to compile with. */
async function compiled(folder: string): Promise<string | undefined> {
  const program = join(folder, 'infer')
  const compiler = process.env['CXX'] ?? 'c++'
  const curlIsThere = await run(compiler, [
    '-fsyntax-only',
    '-include',
    'curl/curl.h',
    '-x',
    'c++',
    '/dev/null',
  ]).then(
    () => true,
    () => false,
  )
  if (!curlIsThere) return undefined
  const flags = ['-std=c++17', '-Wall', '-Wextra', '-Werror']
  await run(compiler, [...flags, repositoryPath('examples/cpp/infer.cpp'), '-lcurl', '-o', program])
  return program
}

// Before the first test: tap ends a file that awaits something between two of them.
const [curl, python] = [await available('curl'), await available('python3')]
const folder = await mkdtemp(join(tmpdir(), 'turbo-pi-'))
t.teardown(() => rm(folder, { recursive: true }))
const cpp = await compiled(folder)

const { app, close } = await servePolicy()
t.teardown(close)
const server = await app.listen({ host: '127.0.0.1', port: 0 })

t.test('the curl example prints the answer', { skip: !curl && 'no curl here' }, async t => {
  const { stdout } = await run('sh', [repositoryPath('examples/infer.sh'), server])
  t.match(JSON.parse(stdout), { actions: Array, seed: 7 })
})

t.test('the Python example prints the first action', { skip: !python && 'no Python here' }, async t => {
  const { stdout } = await run('python3', [repositoryPath('examples/infer.py'), server])
  t.match(stdout, /^10 actions of 7 numbers; the first: \[-?\d/)
})

t.test(
  'the C++ example prints the answer, and the error of a server',
  { skip: !cpp && 'no C++ compiler with curl headers here' },
  async t => {
    const examples = repositoryPath('examples')
    const { stdout } = await run(cpp!, [server, examples])
    t.match(JSON.parse(stdout), { actions: Array, seed: 7 })
    const { stderr } = await run(cpp!, [`${server}/nowhere`, examples]).catch(
      (error: { stderr: string }) => error,
    )
    t.match(stderr, /^status 404: /)
  },
)

t.test('the TypeScript example prints the first action', async t => {
  const { stdout } = await run(process.execPath, [
    '--import=tsx',
    repositoryPath('examples/infer.ts'),
    server,
  ])
  t.match(stdout, /^10 actions of 7 numbers; the first: \[/)
})

t.test('the embedding example asks the policy in process and over HTTP', async t => {
  const { stdout } = await run(process.execPath, ['--import=tsx', repositoryPath('examples/embed.ts')])
  t.match(stdout, /^in process: \[[\s-\d.,e]+\]\nover HTTP: POST .*\/robot\/infer asks tabletop\n$/)
})
