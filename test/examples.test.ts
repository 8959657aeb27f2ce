import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { repositoryPath, servePolicy } from './support/served-policy.js'

const run = promisify(execFile)
const available = async (command: string) =>
  run(command, ['--version']).then(
    () => true,
    () => false,
  )

// Before the first test: tap ends a file that awaits something between two of them.
const [curl, python] = [await available('curl'), await available('python3')]

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
