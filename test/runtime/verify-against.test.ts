import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command } from '../../src/commands/verify/verify.js'
import { golden } from '../families/models.js'
import { repositoryPath } from '../support/served-policy.js'

t.test('turbo-pi verify --against', async t => {
  process.env['TURBO_PI_CACHE'] = t.testdir()
  const recorded = join(process.env['TURBO_PI_CACHE'], 'recorded')
  mkdirSync(recorded)
  copyFileSync(join(golden, 'policies/pi05_libero/obs.msgpack'), join(recorded, 'one.msgpack'))
  const policy = ['--policy', repositoryPath('policies/tiny-libero')]
  const pi0 = ['--model', join(golden, 'model_pi0_tiny')]
  const printed: string[] = []
  t.intercept(console, 'log', { value: (text: string) => printed.push(text) })

  t.equal(await command.run(['--against', recorded, ...policy, '--precision', 'int8']), 0)
  const table = printed.pop()!
  t.match(table, /verified: {2}cpu int8.*\nreference: cpu fp32.*\n1 observations/)
  for (const steps of [10, 3, 1])
    t.match(table, new RegExp(`\\| +${steps} \\| .*e-.* \\| .*e-.* \\| 0.9999\\d+ \\|`))

  t.equal(await command.run([...policy, '--runtime', 'cpu', '--count', '1', '--steps', '1']), 0)
  t.match(printed.pop(), /verified: {2}cpu int8.*\nreference: cpu fp32/, 'never the reference with itself')

  const random = ['--against=random', '--count', '2', '--steps', '4', '--json', '--precision', 'int8']
  t.equal(await command.run([...random, ...pi0, '--max', '0.5', '--mean', '1e-6']), 1, 'a limit is exceeded')
  const found = JSON.parse(printed.pop()!)
  t.match(found, { observations: 2, passed: false, agreements: [{ steps: 4 }] })
  const [{ max, mean, cosine }] = found.agreements
  t.ok(max > mean && mean > 1e-6 && max < 0.1 && cosine > 0.999 && cosine < 1)

  copyFileSync(join(golden, 'cases/pi0_tiny_a_2cam_10steps.safetensors'), join(recorded, 'two.safetensors'))
  const same = ['--against', recorded, '--steps', '2', '--max', '1e-12', '--reference', 'fp32', '--json']
  const both = await command.run([...same, ...policy])
  t.equal(both, 0, 'fp32 agrees with itself, on messages and cases')
  t.match(JSON.parse(printed.pop()!), { observations: 2, agreements: [{ max: 0, mean: 0 }] })

  const empty = join(recorded, 'empty')
  mkdirSync(empty)
  writeFileSync(join(empty, 'bad.msgpack'), 'x')
  const mistakes: [string[], string, RegExp][] = [
    [['--against', join(recorded, 'nowhere'), ...pi0], 'CONFIG_INVALID', /nowhere cannot be read/],
    [['--against', golden, ...pi0], 'CONFIG_INVALID', /holds no \.msgpack message/],
    [['--against', recorded, ...pi0], 'CONFIG_INVALID', /one\.msgpack is a client's message: give --policy/],
    [['--against', empty, ...policy], 'OBSERVATION_INVALID', /bad\.msgpack/],
    [
      ['--against', 'random', ...pi0, '--steps', '3,51'],
      'CONFIG_INVALID',
      /--steps takes .* to 50, got "3,51"/,
    ],
    [['--against', 'random', ...pi0, '--count', '0'], 'CONFIG_INVALID', /--count takes .*, got "0"/],
    [['--against', 'random', ...pi0, '--mean', '-1'], 'CONFIG_INVALID', /--mean takes a positive number/],
    [
      ['--against', 'random', ...pi0, '--reference', 'fp4'],
      'CONFIG_INVALID',
      /--reference takes one of fp32/,
    ],
    [['--against', 'random', ...pi0, '--speed', '1'], 'CONFIG_INVALID', /--speed/],
  ]
  for (const [argv, code, message] of mistakes)
    await t.rejects(command.run(argv), { code, message }, argv.join(' '))
})
