import { cpSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { type Ask, runEpisode } from '../../src/commands/eval/episode.js'
import { command } from '../../src/commands/eval/eval.js'
import { report, wilsonInterval } from '../../src/commands/eval/report.js'
import { connectRobot, PROTOCOLS } from '../../src/commands/eval/robot.js'
import { type EvaluationServer, serveForEvaluation } from '../../src/commands/eval/server.js'
import { loadConfig } from '../../src/config.js'
import { editJson } from '../support/checkpoint.js'
import { repositoryPath } from '../support/served-policy.js'

const policy = ['--policy', repositoryPath('policies/tabletop')]
const KEY = 'tabletop-key'

t.test('over every protocol', async t => {
  const config = loadConfig([...policy, '--api-key', KEY], {})
  const server: EvaluationServer = await serveForEvaluation(config, 3)
  t.teardown(() => server.close())

  await t.test('the same seeds give identical actions', async t => {
    const acted: Record<string, number[][]> = {}
    for (const protocol of PROTOCOLS) {
      const robot = await connectRobot(protocol, server.url, KEY)
      const actions: number[][] = []
      const ask: Ask = async (observation, seed) => {
        server.useSeed(seed)
        const chunk = await robot.infer(observation, { seed, numSteps: 3 })
        actions.push(...chunk)
        return chunk
      }
      for (const index of [1, 8]) await runEpisode({ episodes: 2, execute: 5, seed: 300 }, index, ask)
      await robot.close()
      acted[protocol] = actions
    }
    const [first, ...others] = PROTOCOLS
    t.ok(acted[first]!.length > 60)
    for (const protocol of others)
      t.equal(JSON.stringify(acted[protocol]), JSON.stringify(acted[first]), `${protocol} as ${first}`)
  })

  await t.test('the policy solves the ten tasks with 3 denoise steps', async t => {
    const robot = await connectRobot('stream', server.url, KEY)
    let solved = 0
    for (let index = 0; index < 10; index++) {
      const ask: Ask = (observation, seed) => robot.infer(observation, { seed, numSteps: 3 })
      const { success, task, steps } = await runEpisode({ episodes: 10, execute: 5, seed: 700 }, index, ask)
      t.comment(`${task}: ${success ? `solved in ${steps} steps` : 'not solved'}`)
      solved += Number(success)
    }
    await robot.close()
    t.ok(solved >= 9, `${solved} of 10`)
  })

  await t.test('a refusal says what the server said', async t => {
    await t.rejects(
      (await connectRobot('http', server.url, 'another key')).infer(
        { image: new Uint8Array(1), wristImage: new Uint8Array(1), state: new Float64Array(8), prompt: '' },
        { seed: 0, numSteps: 3 },
      ),
      { code: 'RUNTIME_FAILED', message: /401/ },
    )
  })
})

t.test('turbo-pi eval prints results, repeats itself, and films', async t => {
  const printed: string[] = []
  const log = console.log
  console.log = (text: string) => printed.push(text)
  t.teardown(() => {
    console.log = log
  })
  const directory = t.testdir({})
  const evaluate = (...argv: string[]) =>
    command.run([...policy, '--episodes', '2', '--steps', '1,2', '--seed', '40', '--json', ...argv])
  t.equal(await evaluate('--video', directory), 0)
  t.equal(await evaluate('--protocol', 'http'), 0)
  console.log = log

  const [first, second] = printed.map(text => JSON.parse(text))
  t.same([first.protocol, second.protocol], ['stream', 'http'])
  t.same(
    first.results.map(({ steps }: { steps: number }) => steps),
    [1, 2],
  )
  const outcome = ({ results }: typeof first) =>
    results.map(({ episodes }: typeof first) =>
      episodes.map(({ task, success, steps }: typeof first) => [task, success, steps]),
    )
  t.same(outcome(first), outcome(second))

  const films = readdirSync(directory).sort()
  t.same(films, [
    'pick-up-the-green-block-1-steps.webp',
    'pick-up-the-green-block-2-steps.webp',
    'pick-up-the-red-block-1-steps.webp',
    'pick-up-the-red-block-2-steps.webp',
  ])
  const { pages, width, pageHeight } = await sharp(join(directory, films[0]!), { animated: true }).metadata()
  t.same([pages, width, pageHeight], [first.results[0].episodes[1].steps + 1, 448, 224])
})

t.test('options that make no sense are refused', async t => {
  await t.rejects(command.run(['--episodes', '0']), { code: 'CONFIG_INVALID' })
  await t.rejects(command.run(['--steps', '10,x']), { code: 'CONFIG_INVALID' })
  await t.rejects(command.run(['--protocol', 'carrier-pigeon']), { code: 'CONFIG_INVALID' })
  await t.rejects(command.run(['--url', 'http://127.0.0.1:1']), {
    code: 'SERVER_UNREACHABLE',
    message: /no server answers/,
  })
  await t.rejects(command.run(['--url', 'http://127.0.0.1:1', '--protocol', 'openpi', '--steps', '3']), {
    code: 'CONFIG_INVALID',
  })
  await t.rejects(command.run([...policy, '--cache-dir', '/dev/null/cache']), { code: 'CACHE_FAILED' })
  const desk = join(t.testdir(), 'desk')
  cpSync(repositoryPath('policies/tiny-libero'), desk, { recursive: true })
  editJson(join(desk, 'policy.json'), manifest => {
    for (const field of ['config', 'digests']) delete manifest[field]
    const camera = {
      key: 'cameras.desk',
      slot: 'base_0_rgb',
      required: true,
      layout: 'hwc',
      description: 'desk',
    }
    manifest['embodiment'] = {
      format: 'turbo-pi.embodiment/1',
      name: 'desk',
      cameras: [camera],
      state: [{ key: 'observation/state', size: 8, description: 'state' }],
      promptKey: 'prompt',
      actionSize: 7,
    }
  })
  await t.rejects(command.run(['--policy', desk]), {
    code: 'CONFIG_INVALID',
    message: /needs cameras\.desk, which the simulated tabletop has not: it gives observation\/image/,
  })
})

t.test('the table has intervals and latencies', async t => {
  const close = (actual: number[], expected: number[]) =>
    t.ok(
      actual.every((value, i) => Math.abs(value - expected[i]!) < 5e-4),
      `${actual}`,
    )
  close(wilsonInterval(10, 10), [0.7225, 1])
  close(wilsonInterval(194, 200), [0.9361, 0.9862])
  close(wilsonInterval(0, 20), [0, 0.1611])

  const task = 'pick up the red block'
  const episodes = [
    { task, success: true, steps: 20, latencies: [10, 20] },
    { task, success: false, steps: 80, latencies: [30, 40] },
  ]
  const lines = report({ episodes: 1, execute: 5, seed: 0 }, [
    { steps: 10, protocol: 'http', server: 'tabletop, cpu fp32', episodes },
  ])
    .replace(/ +/g, ' ')
    .split('\n')
  t.ok(lines.includes('| 10 | 1/2 = 50.0 % (9.5–90.5) | 50.0 | 25.0 | 40.0 |'))
  t.ok(lines.includes(`| ${task} | 1/2 = 50.0 % (9.5–90.5) |`))
})
