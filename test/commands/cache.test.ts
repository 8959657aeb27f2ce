import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { command } from '../../src/commands/cache.js'
import { modelFromCache } from '../../src/families/model-cache.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { markStart } from '../../src/storage/entries.js'
import { markUse } from '../../src/storage/use.js'
import { golden } from '../families/models.js'

const HOUR = 3600

/** A cache of a lowered model, its engines, random weights and what a killed process has left. */
async function filled(cache: string) {
  const source = { ...readModelDirectory(join(golden, 'model_pi05_tiny')), precision: 'fp32' } as const
  const { directory, model } = await modelFromCache(source, cache)
  const folders: [string, number][] = [
    [`engines/${model.key}-0123`, 10],
    ['random/pi05-0', 20],
    ['models/1234.5-6.draft', 30],
  ]
  for (const [folder, hours] of folders) {
    mkdirSync(join(cache, folder), { recursive: true })
    writeFileSync(join(cache, folder, 'file'), new Uint8Array(1e6))
    const then = Date.now() / 1000 - hours * HOUR
    utimesSync(join(cache, folder), then, then)
  }
  return { model: directory, engines: join(cache, folders[0]![0]), random: join(cache, 'random/pi05-0') }
}

const printed: string[] = []
t.intercept(console, 'log', { value: (text: string) => printed.push(text) })
t.beforeEach(() => {
  printed.length = 0
})

t.test('ls tells what there is, the least recently loaded first', async t => {
  const cache = t.testdir()
  t.equal(await command.run(['ls', '--cache-dir', cache]), 0)
  t.match(printed.pop(), /is empty/)
  const { model } = await filled(cache)
  const release = markUse(model)
  t.equal(await command.run(['ls', '--cache-dir', cache]), 0)
  const [head, ...lines] = printed.pop()!.split('\n')
  t.match(head, /^kind +name +size +arithmetic +age +last used +checkpoint/)
  t.match(lines, [
    /^unfinished +1234\.5-6\.draft +0\.001 GB/,
    /^random weights +pi05-0 +0\.001 GB +[\d.]+ h +20\.0 h/,
    /^engines +[0-9a-f]{32}-0123 +0\.001 GB +fp32 +[\d.]+ h +10\.0 h .*model_pi05_tiny/,
    /^model +[0-9a-f]{32} +0\.00\d GB +fp32 +0\.0 h +0\.0 h +in use +.*model_pi05_tiny/,
    /^$/,
    /GB in /,
  ])
  t.equal(await command.run(['ls', '--json', '--cache-dir', cache]), 0)
  t.match(JSON.parse(printed.pop()!)[3], {
    kind: 'model',
    arithmetic: 'fp32',
    users: [`process ${process.pid} on ${hostname()}`],
  })
  release()
  await command.run(['ls', '--json', '--cache-dir', cache])
  t.same(JSON.parse(printed.pop()!)[3].users, [])
})

t.test('prune removes by age, by size, or all, and never what is in use', async t => {
  const cache = t.testdir()
  const { model, engines, random } = await filled(cache)
  const prune = async (...argv: string[]) => {
    t.equal(await command.run(['prune', '--cache-dir', cache, ...argv]), 0)
    return printed.splice(0).join('\n')
  }
  t.match(
    await prune('--unused-for', '15h', '--dry-run'),
    /would be removed +random.*0\.002 GB would be freed/s,
  )
  t.ok(existsSync(random))
  t.match(await prune('--unused-for', '1d'), /removed +unfinished.*0\.001 GB were freed/s)
  t.notOk(existsSync(join(cache, 'models/1234.5-6.draft')))
  t.ok(existsSync(random), 'what was loaded since stays')
  const release = markUse(engines)
  t.match(await prune('--max-size', '0.1MB'), /kept +engines .*: process \d+ on .* uses it/)
  t.ok(existsSync(engines))
  t.notOk(existsSync(model))
  release()

  const starting = markStart(cache)
  t.match(await prune('--all'), /kept +engines/)
  starting()
  t.match(await prune('--all'), /removed +engines/)
  t.same(readdirSync(join(cache, 'engines')), [])
})

t.test('a process that is gone holds nothing, one that lives or cannot be seen does', async t => {
  const cache = t.testdir()
  const { engines } = await filled(cache)
  const mark = (name: string, pid: number, host = hostname()) =>
    writeFileSync(`${engines}.${name}.use`, JSON.stringify({ pid, host }))
  const users = async () => {
    await command.run(['ls', '--json', '--cache-dir', cache])
    const entries = JSON.parse(printed.pop()!) as { kind: string; users: string[] }[]
    return entries.find(({ kind }) => kind === 'engines')!.users
  }
  mark('gone', spawnSync(process.execPath, ['--version']).pid)
  t.same(await users(), [])
  t.notOk(existsSync(`${engines}.gone.use`), 'its mark is cleared away')

  const other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)'])
  t.teardown(() => other.kill())
  mark('lives', other.pid!)
  utimesSync(`${engines}.lives.use`, 1, 1)
  t.same(await users(), [`process ${other.pid} on ${hostname()}`], 'however long it was busy')

  mark('away', 1, 'elsewhere')
  t.match(await users(), { length: 2 })
  utimesSync(`${engines}.away.use`, 1, 1)
  t.match(await users(), { length: 1 }, 'one elsewhere that has gone silent')
})

t.test('what it refuses', async t => {
  const cache = t.testdir()
  const mistakes: [string[], RegExp][] = [
    [[], /takes ls or prune, got none/],
    [['rm'], /takes ls or prune, got "rm"/],
    [['prune'], /takes --unused-for AGE, --max-size SIZE or --all/],
    [['prune', '--unused-for', '3 weeks'], /--unused-for takes a number and one of h, d, got 3 weeks/],
    [['prune', '--max-size', '20'], /--max-size takes a number and one of MB, GB, TB, got 20/],
    [['ls', '--fast'], /has no option --fast/],
  ]
  for (const [argv, message] of mistakes)
    await t.rejects(command.run([...argv, '--cache-dir', cache]), { code: 'CONFIG_INVALID', message })
})
