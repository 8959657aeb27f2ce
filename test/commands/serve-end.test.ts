import { execFileSync } from 'node:child_process'
import { createWriteStream, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { encodeMsgpack, NdArray } from '../../src/contract/msgpack.js'
import { readiness, serveProcess } from '../support/serve-process.js'
import { repositoryPath } from '../support/served-policy.js'
import { until } from '../support/server.js'

const skip = process.platform === 'linux' ? false : 'needs named pipes and /proc'

const pixels = new NdArray('|u1', [224, 224, 3], new Uint8Array(224 * 224 * 3))
const infer = (url: string, seed: number) =>
  fetch(`${url}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/msgpack' },
    body: encodeMsgpack({
      'observation/image': pixels,
      'observation/wrist_image': pixels,
      'observation/state': Array.from({ length: 8 }, () => 0),
      prompt: 'pick up the black bowl',
      options: { seed, num_steps: 1 },
    }),
  })

t.test(
  'an engine that hangs, and the one in its place, too: callers are answered, SIGTERM ends it',
  { skip },
  async t => {
    const folder = t.testdir()
    const pipe = join(folder, 'hang')
    const { child, url, log, exited } = await serveProcess(
      [
        '--policy',
        repositoryPath('policies/tiny-libero'),
        '--engine-timeout',
        '4000',
        '--drain-timeout',
        '1000',
      ],
      {
        env: { FAULTY_ENGINE: folder },
        node: [`--require=${repositoryPath('test/support/faulty-engine.cjs')}`],
      },
    )
    t.teardown(() => child.kill('SIGKILL'))
    await readiness(url, 200)
    t.equal((await infer(url, 1)).status, 200)

    execFileSync('mkfifo', [pipe])
    const [one, other] = await Promise.all([infer(url, 2), infer(url, 3)])
    for (const response of [one, other]) {
      t.equal(response.status, 503)
      t.match(await response.json(), { code: 'ENGINE_HUNG', detail: /has not come back from a call/ })
    }
    t.equal((await fetch(`${url}/healthz`)).status, 200)
    // The pipe is still there: the next worker hangs as well, and is not replaced.
    t.match(await (await infer(url, 4)).json(), { code: 'ENGINE_HUNG' })
    t.match(await (await readiness(url, 503)).json(), { code: 'ENGINE_HUNG' })
    t.match(await (await fetch(`${url}/metrics`)).text(), /turbo_pi_engine_hung_total [1-9]/)
    await until(() => log.some(line => line.includes('A call of the engine does not return')), 'it is logged')

    const start = performance.now()
    child.kill('SIGTERM')
    t.same(await exited, [null, 'SIGKILL'], 'its threads cannot be ended, so it ends itself')
    t.ok(performance.now() - start < 15_000, 'within the drain and two seconds, and a wide margin')
  },
)

t.test('another worker answers, and the one that hung ends when it comes back', { skip }, async t => {
  const folder = t.testdir()
  const { child, url, log, exited } = await serveProcess(
    ['--policy', repositoryPath('policies/tiny-libero'), '--engine-timeout', '4000'],
    {
      env: { FAULTY_ENGINE: folder },
      node: [`--require=${repositoryPath('test/support/faulty-engine.cjs')}`],
    },
  )
  t.teardown(() => child.kill('SIGKILL'))
  await readiness(url, 200)
  execFileSync('mkfifo', [join(folder, 'hang-once')])
  t.equal((await infer(url, 1)).status, 503)
  await readiness(url, 200)
  t.equal((await infer(url, 2)).status, 200)
  await until(() => log.some(line => line.includes('The engine works again')), 'it is logged')
  const threads = () => readdirSync(`/proc/${child.pid}/task`)
  const before = threads()
  createWriteStream(join(folder, 'hanging')).end()
  await until(() => before.some(thread => !threads().includes(thread)), 'the thread that hung has ended')
  child.kill('SIGTERM')
  t.same(await exited, [0, null], 'a clean end')
})

t.test('SIGHUP reads the keys again, and a file that is not valid changes nothing', { skip }, async t => {
  const apiKeys = join(t.testdir(), 'keys.json')
  const write = (key: string) => writeFileSync(apiKeys, JSON.stringify([{ name: 'arm', key }]))
  write('first')
  const { child, url, log } = await serveProcess([
    '--policy',
    repositoryPath('policies/tiny-libero'),
    '--api-keys',
    apiKeys,
  ])
  t.teardown(() => child.kill('SIGKILL'))
  const status = async (key: string) =>
    (await fetch(`${url}/metadata`, { headers: { authorization: `Api-Key ${key}` } })).status
  t.equal(await status('first'), 200)
  write('two words')
  child.kill('SIGHUP')
  await until(() => log.some(line => line.includes('stay as they were')), 'the file was refused')
  t.equal(await status('first'), 200)
  write('second')
  child.kill('SIGHUP')
  await until(() => log.some(line => line.includes('read again')), 'the file was read')
  t.same([await status('first'), await status('second')], [401, 200])
})

t.test('a cache that cannot be made ends the start with a reason', { skip }, async t => {
  const serving = serveProcess([
    '--policy',
    repositoryPath('policies/tiny-libero'),
    '--cache-dir',
    '/proc/cache',
  ])
  const { child, exited, log } = await serving
  t.teardown(() => child.kill('SIGKILL'))
  t.same(await exited, [1, null])
  t.match(log.join('\n'), /CACHE_FAILED.*\n.*\/proc\/cache/)
})
