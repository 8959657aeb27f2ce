import { spawnSync } from 'node:child_process'
import t from 'tap'
import { rgbImage, TurboPiClient } from '../../src/client/index.js'
import { Scrape } from '../../src/commands/top/samples.js'
import { command } from '../../src/commands/top/top.js'
import { view } from '../../src/commands/top/view.js'
import { onTerminal, until as soon } from '../support/command-line.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)

const ABOUT = {
  url: 'http://here',
  unready: undefined,
  policy: 'arm',
  backend: 'cpu fp32',
  model: 'cac71679794ba269',
}

t.test('samples, labels and quantiles are read as Prometheus writes them', t => {
  const text = (fast: number, slow: number) => `# HELP ages of something
# TYPE ages histogram
ages_bucket{le="0.1",policy="a"} ${fast}
ages_bucket{le="0.2",policy="a"} ${fast + slow}
ages_bucket{le="+Inf",policy="a"} ${fast + slow}
plain 3
told{name="with \\"quotes\\", commas",other="x"} 1e3
told{name="b",other="x"} 4
`
  const [before, now] = [new Scrape(text(100, 0), 0), new Scrape(text(110, 10), 1000)]
  t.equal(now.sum('plain'), 3)
  t.equal(now.sum('told'), 1004)
  t.equal(now.sum('told', { name: 'with "quotes", commas' }), 1000)
  t.equal(now.sum('unknown'), 0)
  t.strictSame(now.values('told', 'name'), ['with "quotes", commas', 'b'])
  // Ten of twenty lie between 0 and 0.1, ten between 0.1 and 0.2.
  t.ok(Math.abs(now.quantile('ages', 0.5, before)! - 0.1) < 1e-9)
  t.ok(Math.abs(now.quantile('ages', 0.75, before)! - 0.15) < 1e-9)
  t.equal(now.quantile('ages', 0.5, now), undefined, 'nothing was counted since')
  t.end()
})

t.test('rates are those between two looks, and robots that are answered most come first', t => {
  const text = (a: number, b: number, late: number) => `turbo_pi_answers_total ${a + b}
turbo_pi_late_total ${late}
turbo_pi_lane_busy_seconds_total{lane="perceive"} ${a / 100}
turbo_pi_robot_answers_total{robot="slow",policy="p"} ${a}
turbo_pi_robot_answers_total{robot="quick",policy="p"} ${b}
turbo_pi_robot_late_total{robot="quick",policy="p"} ${late}
turbo_pi_robot_observation_age_seconds{robot="quick",policy="p"} 0.0421
`
  const shown = view(ABOUT, new Scrape(text(110, 130, 4), 2000), new Scrape(text(100, 100, 0), 0))
  t.match(shown, /^http:\/\/here {2}ready {2}arm, cpu fp32, model cac71679794b$/m)
  t.match(shown, /answers 20 .*late 2\.0/)
  t.match(shown, /perceive 5 %/)
  const robots = shown.split('\n').filter(line => /^\| (slow|quick)/.test(line))
  t.match(robots, [/^\| quick .* 15 \| +42\.1 \| +4 \|/, /^\| slow .* 5\.0 \|/])
  t.match(view(ABOUT, new Scrape(text(1, 1, 0), 0), undefined, 1), /answers – [\s\S]*… and 1 more$/)
  t.match(
    view({ ...ABOUT, unready: 'it starts' }, new Scrape('', 0), undefined),
    /NOT READY: it starts[\s\S]*No robot/,
  )
  t.end()
})

t.test('each card has a line of what it tells', t => {
  const text = `turbo_pi_gpu_info{device="0",name="A card",uuid="GPU-1b"} 1
turbo_pi_gpu_info{device="1",name="A slice",uuid=""} 1
turbo_pi_gpu_utilisation_ratio{device="0"} 0.974
turbo_pi_gpu_memory_bytes{device="0"} 80e9
turbo_pi_gpu_memory_used_bytes{device="0"} 4e9
turbo_pi_gpu_memory_used_bytes{device="1"} 1e9
turbo_pi_gpu_temperature_celsius{device="0"} 91
turbo_pi_gpu_power_watts{device="0"} 412.5
turbo_pi_gpu_throttled{device="0",reason="sw_thermal_slowdown"} 1
turbo_pi_gpu_throttled{device="0",reason="hw_slowdown"} 0
turbo_pi_gpu_other_processes{device="0"} 2
turbo_pi_gpu_other_processes{device="1"} 0
`
  const lines = view(ABOUT, new Scrape(text, 0), undefined).split('\n')
  t.same(
    lines.filter(line => line.startsWith('gpu ')),
    [
      'gpu 0       97 %  memory 4000 MB of 80000 MB  91 °C  413 W  slowed by sw_thermal_slowdown  other processes 2',
      'gpu 1       memory 1000 MB',
    ],
  )
  t.end()
})

const observation = {
  'observation/image': rgbImage(new Uint8Array(48), 4, 4),
  'observation/state': [1, 0],
}

t.test('turbo-pi top prints once where nobody watches, with the key where one is asked for', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 }, config: { apiKey: 'secret' } })
  const printed: string[] = []
  t.intercept(console, 'log', { value: (line: string) => printed.push(line) })
  t.intercept(process.stdout, 'isTTY', { value: false })
  await using client = await TurboPiClient.connect(url, { robot: 'arm-7', apiKey: 'secret' })
  await client.infer(observation)
  t.equal(await command.run([`${url}/`, '--interval', '100', '--api-key', 'secret']), 0)
  t.match(printed[0], /ready {2}fake, cpu fp32, model /)
  t.match(printed[0], /\| arm-7 +\| +1 \| +0\.0 \|/)
  t.match(printed[0], /model \d+\.?\d* MB {2}process \d+ MB/)
  await t.rejects(command.run([url, '--interval', '100']), {
    code: 'SERVER_UNREACHABLE',
    message: /401: give the key/,
  })
  await t.rejects(command.run(['http://127.0.0.1:9']), { code: 'SERVER_UNREACHABLE' })
  await t.rejects(command.run(['nowhere']), { code: 'CONFIG_INVALID', message: /takes an address/ })
})

const skip = spawnSync('script', ['--version']).error ? 'needs script(1)' : false

t.test(
  'on a terminal it goes on until q is pressed, and gives the screen back',
  { skip, timeout: 120_000 },
  async t => {
    const { url } = await startServer({ runtime: { milliseconds: 1 } })
    const { child, screen, exited } = onTerminal(['top', url, '--interval', '200'], {})
    t.teardown(() => child.kill('SIGKILL'))
    await soon(() => (screen.text.match(/ready {2}fake/g) ?? []).length > 2, 'it looks again', 60_000)
    child.stdin.write('q')
    t.equal(await exited, 0)
    t.ok(screen.text.includes('\u001b[?1049h'))
    t.ok(screen.text.trimEnd().endsWith('\u001b[?1049l'))
  },
)
