import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { logLine } from '../../src/commands/kit/log-lines.js'
import { onTerminal, startCli, until } from '../support/command-line.js'
import { readiness } from '../support/serve-process.js'
import { repositoryPath } from '../support/served-policy.js'

const policy = ['--policy', repositoryPath('policies/tiny-libero'), '--port', '0']
const skip = spawnSync('script', ['--version']).error ? 'needs script(1)' : false
const CTRL_C = '\u0003'
const START_MS = 120_000

t.test('on a terminal: lines, the address to open, and what was counted after Ctrl-C', { skip }, async t => {
  const folder = t.testdir({ cache: {}, tmp: {} })
  const env = { TURBO_PI_CACHE: join(folder, 'cache'), TMPDIR: join(folder, 'tmp') }
  const { child, screen, exited } = onTerminal(['serve', ...policy], env)
  t.teardown(() => child.kill('SIGKILL'))
  await until(() => /Open (\S+) in a browser/.test(screen.text), 'it invites', START_MS)
  const [, url] = /Open (\S+) in a browser\. Ctrl-C stops the server\./.exec(screen.text)!
  t.equal((await fetch(`${url}healthz`)).status, 200)
  t.equal(
    (
      await fetch(`${url}infer`, {
        method: 'POST',
        body: '{',
        headers: { 'content-type': 'application/json' },
      })
    ).status,
    400,
  )
  t.match(screen.text, /\d\d:\d\d:\d\d ready policy=\S+ backend=cpu /)
  t.match(screen.text, /lowering the weights, \d+ % of \d+ MB/, 'the first start lowers, and says so')
  t.notMatch(screen.text, /^\{"level"/m, 'no JSON')
  child.stdin.write(CTRL_C)
  t.equal(await exited, 0)
  t.match(
    screen.text,
    /\d\d:\d\d:\d\d stopping signal=SIGINT\s+\d\d:\d\d:\d\d stopped answers=0 errors=1 uptimeSeconds=\d+/,
  )
  for (const change of ['\u001b[?7l', '\u001b[?25l'])
    t.notOk(screen.text.includes(change), 'neither line wrap nor cursor is taken from the terminal')
  t.same(
    readdirSync(join(folder, 'cache'), { recursive: true }).filter(name =>
      /\.(?:draft|lock|use)$/.test(String(name)),
    ),
    [],
    'nothing half done is left in the cache',
  )
  t.same(
    readdirSync(join(folder, 'tmp')).filter(name => !/^tsx-/.test(name)),
    [],
    'and no temporary files',
  )
})

t.test('elsewhere: JSON, a line an event, with the stages of the start', async t => {
  const { child, said, ended } = startCli(['serve', ...policy], { TURBO_PI_CACHE: t.testdir() })
  t.teardown(() => child.kill('SIGKILL'))
  await until(() => said.stdout.includes('"ready"'), 'it is ready', START_MS)
  child.kill('SIGINT')
  t.match(await ended, { code: 0 })
  const lines = said.stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)
  const stages = lines.filter(({ msg }) => msg === 'starting').map(({ stage }) => stage)
  t.same(
    // One that takes longer than ten seconds is told of again.
    stages.filter((stage, i) => stage !== stages[i - 1]),
    ['reading the checkpoint', 'lowering the weights', 'opening the engine', 'self-test'],
  )
  t.match(
    lines.find(({ msg }) => msg === 'ready'),
    { url: /^http:\/\/127\.0\.0\.1:\d+\/$/ },
  )
  t.match(lines.at(-1), { msg: 'stopped', answers: 0, errors: 0, uptimeSeconds: Number })
  t.notMatch(said.stdout, /Open http/)
})

t.test('/readyz tells the stage until it is ready', async t => {
  const { child, said } = startCli(['serve', ...policy], { TURBO_PI_CACHE: t.testdir() })
  t.teardown(() => child.kill('SIGKILL'))
  await until(() => /http:\/\/127\.0\.0\.1:\d+/.test(said.stdout), 'it listens', START_MS)
  const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(said.stdout)!
  const first = await fetch(`${url}/readyz`)
  if (first.status === 503) {
    const { stage, detail } = (await first.json()) as { stage: string; detail: string }
    t.ok(detail.startsWith(`The engine is starting: ${stage}`), detail)
  }
  await readiness(url, 200, START_MS)
})

t.test('a line of the log has its clock, its level, its fields and what went wrong', t => {
  const at = new Date(2026, 0, 2, 3, 4, 5).getTime()
  const line = (record: object) =>
    logLine(JSON.stringify({ level: 30, time: at, pid: 1, hostname: 'h', ...record }))
  t.equal(
    line({ msg: 'ready', policy: 'my arm', maxBatch: 8, chosen: null }),
    '03:04:05 ready policy="my arm" maxBatch=8\n',
  )
  t.equal(
    line({ level: 50, msg: 'broken', err: { message: 'no disk', code: 'CACHE_FAILED', stack: 's' } }),
    '03:04:05 error: broken\n         no disk (CACHE_FAILED)\n',
  )
  t.equal(
    line({ level: 40, msg: 'odd', err: { message: 'x', stack: 'Error: x\n  at y' } }),
    '03:04:05 warning: odd\n         Error: x\n           at y\n',
  )
  t.end()
})
