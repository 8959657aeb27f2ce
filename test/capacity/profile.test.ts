import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readProfile, stageMs } from '../../src/capacity/profile.js'
import { delayed, percentile, quantile, timesOf } from '../../src/capacity/times.js'
import { command as bench } from '../../src/commands/bench/bench.js'
import { command } from '../../src/commands/capacity/capacity.js'
import { repositoryPath } from '../support/served-policy.js'

const { gpuProfile } = await import(new URL('../../tools/gpu-profile.mjs', import.meta.url).href)

const kept = repositoryPath('docs/measurements/profiles')
const h200 = join(kept, 'h200.json')

t.test('every profile that is kept can be read', t => {
  for (const file of readdirSync(kept)) t.ok(readProfile(join(kept, file)).batches.length > 0, file)
  t.end()
})

t.test('a profile that is none is refused with its field', t => {
  const profile = readProfile(h200)
  const refused = (change: object, message: RegExp) => {
    const file = join(t.testdir({}), 'profile.json')
    writeFileSync(file, JSON.stringify({ ...profile, ...change }))
    t.throws(() => readProfile(file), { code: 'CONFIG_INVALID', message })
  }
  refused({ lanes: 3 }, /profile\.json is no profile: \/lanes /)
  refused({ batches: [] }, /\/batches /)
  refused(
    {
      prepare: [
        [50, 3],
        [99, 2],
      ],
    },
    /\/prepare\/1 must be above/,
  )
  refused({ batches: profile.batches.toReversed() }, /\/batches\/1\/rows must be above/)
  t.throws(() => readProfile(join(kept, 'nothing.json')), {
    code: 'CONFIG_INVALID',
    message: /nothing\.json/,
  })
  t.end()
})

t.test('what lies between measured values is on a line between them', t => {
  t.equal(
    quantile(
      [
        [50, 10],
        [99, 20],
      ],
      0.2,
    ),
    10,
  )
  t.equal(
    quantile(
      [
        [50, 10],
        [100, 20],
      ],
      0.75,
    ),
    15,
  )
  t.equal(
    quantile(
      [
        [50, 10],
        [99, 20],
      ],
      1,
    ),
    20,
  )
  const profile = readProfile(h200)
  t.equal(stageMs(profile, 'vision', 1, 0.5), 1.9)
  t.equal(stageMs(profile, 'vision', 8, 0.5), 9.67)
  t.ok(Math.abs(stageMs(profile, 'vision', 4, 0.5) - (1.9 + (3 / 7) * (9.67 - 1.9))) < 1e-9)
  t.throws(() => stageMs(profile, 'vision', 9, 0.5), /8 are most/)
  const measured = Array.from({ length: 100 }, (_, at) => at + 1)
  t.strictSame(
    timesOf(measured).find(([percent]) => percent === 95),
    [95, 95],
  )
  t.equal(percentile([1, 2, 3, 4], 50), 2)
  t.ok(Math.abs(delayed({ p50: 2, p99: 10 }, 2.3263478740408408) - 10) < 1e-9)
  t.equal(delayed({ p50: 2, p99: 10 }, 0), 2)
  t.equal(delayed({ p50: 0, p99: 0 }, 1), 0)
  t.end()
})

t.test('the lines of network_check make the profile that is kept', t => {
  const made = gpuProfile(
    [
      'ok  something',
      'time 8 rows, 2 cameras, 64 tokens, 10 steps vision  9.670 prefix 26.250 denoise 10.350 | host wall median 46.980 p99 47.610 max 48.0 | unlike 0 | rows/s 170.3',
      'time 1 row, 3 cameras, 200 tokens, 10 steps vision  2.380 prefix  6.010 denoise  4.390 | host wall median 12.920 p99 13.060 max 14.0 | unlike 0',
      'time 1 row, 2 cameras, 64 tokens, 10 steps vision  1.900 prefix  3.610 denoise  4.180 | host wall median  9.790 p99  9.900 max 10.0 | unlike 0',
    ].join('\n'),
    5,
    { device: 'NVIDIA H200' },
  )
  t.strictSame(made.batches, readProfile(h200).batches)
  t.throws(() => gpuProfile('nothing', 0), /printed no times/)
  t.end()
})

function printing(t: Test): string[] {
  const printed: string[] = []
  t.intercept(console, 'log', { value: (line: string) => printed.push(line) })
  return printed
}

t.test('turbo-pi capacity prints a plan, and JSON', async t => {
  const printed = printing(t)
  const asked = ['--profile', h200, '--robots', '40', '--seconds', '5', '--sample', '1']
  t.equal(await command.run(asked), 0)
  t.match(printed[0], /40 robots at 5 Hz, ages of at most 200 ms/)
  t.match(printed[0], /^2 replicas, 20 robots each$/m)
  t.match(printed[0], /^The loss of one leaves 20 robots without answers for /m)
  t.equal(await command.run([...asked, '--json']), 0)
  t.match(JSON.parse(printed[1]!), {
    robots: 40,
    replicas: 2,
    fleet: { answered: Number },
    lost: { replicas: 1 },
  })
  t.equal(await command.run([...asked, '--age-p99', '12']), 1)
  t.match(printed[2], /No number of replicas is enough/)
})

t.test('turbo-pi capacity refuses what it cannot simulate', async t => {
  await t.rejects(command.run([]), { code: 'CONFIG_INVALID', message: /--profile FILE/ })
  for (const network of ['5', '5,2', 'a,b', '0,3', '-1,2'])
    await t.rejects(
      command.run(['--profile', h200, `--network=${network}`]),
      { code: 'CONFIG_INVALID' },
      network,
    )
})

t.test('turbo-pi bench --batches --json prints a profile', async t => {
  const printed = printing(t)
  const policy = ['--policy', repositoryPath('policies/tiny-libero')]
  const few = ['--rounds', '3', '--steps', '2', '--max-batch', '3', '--runtime', 'cpu']
  t.equal(await bench.run([...policy, ...few, '--batches', '--json']), 0)
  const file = join(t.testdir({}), 'profile.json')
  writeFileSync(file, printed[0]!)
  t.match(readProfile(file), {
    steps: 2,
    backend: 'cpu',
    lanes: 1,
    batches: [{ rows: 1 }, { rows: 2 }, { rows: 3 }],
  })
  await bench.run([...policy, ...few, '--batches'])
  t.match(printed.at(-1), /^\| +3 \|/m)
})
