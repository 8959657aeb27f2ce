import { STRATEGIES, type Strategy, TurboPiClient } from '../../client/index.js'
import { loadConfig } from '../../config.js'
import { TurboPiError } from '../../errors.js'
import { MAX_STEPS } from '../../families/pi0/sampling.js'
import { wilsonInterval } from '../eval/report.js'
import { serveForEvaluation } from '../eval/server.js'
import { machineLine } from '../kit/machine.js'
import { flag, integer, integers, takeOptions, text } from '../kit/options.js'
import { progressBar } from '../kit/progress.js'
import { alignedTable } from '../kit/table.js'
import { type Delay, type MotionResult, runMotion } from './episode.js'

export const help = `turbo-pi motion [options] [options of serve]

Compares the strategies of the client's chunk executor on the simulated tabletop under delays that are made up, in
simulated time: pauses, the jump where one chunk follows another, and success. A server in this process answers.

  --strategies A,B    of ${STRATEGIES.join(', ')} [${STRATEGIES.join(',')}]
  --delay A,B         milliseconds from an observation to its answer [0,150,300,500]
  --jitter N          each delay is drawn from ± N milliseconds; none for a delay of 0 [100]
  --hertz N           actions a second [10]
  --episodes N        of each strategy and delay [200]
  --robots N          episodes at a time [8]
  --steps N           denoise steps [10]
  --seed N            of the first episode [0]
  --json              print JSON`

const OPTIONS = {
  strategies: text(STRATEGIES.join(',')),
  delay: integers([0, 150, 300, 500], 0, 10_000),
  jitter: integer(100, 0, 10_000),
  hertz: integer(10, 1, 1000),
  episodes: integer(200, 1, 100_000),
  robots: integer(8, 1, 64),
  steps: integer(10, 1, MAX_STEPS),
  seed: integer(0, 0, 2 ** 31),
  json: flag(),
}

interface Cell {
  strategy: Strategy
  delay: Delay
  results: MotionResult[]
}

/** `turbo-pi motion`: prints the table. */
export async function run(argv: string[]): Promise<number> {
  const { own, rest } = takeOptions(argv, OPTIONS)
  const strategies = own.strategies.split(',').map(strategyOf)
  const server = await serveForEvaluation(loadConfig(rest), own.steps)
  const clients = await Promise.all(
    Array.from({ length: own.robots }, () => TurboPiClient.connect(server.url)),
  )
  const bar = progressBar('{what} {bar} {value}/{total}, {eta_formatted} to go')
  try {
    const cells: Cell[] = []
    for (const ms of own.delay) {
      for (const strategy of strategies) {
        const delay = { ms, jitterMs: ms === 0 ? 0 : own.jitter }
        const setup = { strategy, delay, hertz: own.hertz, numSteps: own.steps }
        const results: MotionResult[] = []
        let next = 0
        await Promise.all(
          clients.map(async client => {
            while (next < own.episodes) {
              const index = next++
              results[index] = await runMotion(client, setup, index, own.seed)
              bar.update(next, own.episodes, { what: `${strategy}, ${ms} ms` })
            }
          }),
        )
        bar.stop()
        cells.push({ strategy, delay, results })
      }
    }
    console.log(own.json ? JSON.stringify(cells) : report(cells, server.description, own.episodes))
    return 0
  } finally {
    bar.stop()
    await Promise.all(clients.map(client => client.close()))
    await server.close()
  }
}

function strategyOf(name: string): Strategy {
  if ((STRATEGIES as readonly string[]).includes(name)) return name as Strategy
  throw new TurboPiError('CONFIG_INVALID', `--strategies takes ${STRATEGIES.join(', ')}, got ${name}.`)
}

function report(cells: readonly Cell[], server: string, episodes: number): string {
  return [
    `${server}; ${episodes} episodes each; distances in table units (a step is at most 0.04 in x and y)`,
    machineLine(),
    '',
    alignedTable(
      [
        'delay',
        'strategy',
        'success (95 %)',
        'pauses/episode',
        'seam jump',
        'seam p95',
        'usual step',
        'step p95',
      ],
      cells.map(({ strategy, delay, results }) => {
        const solved = results.filter(({ success }) => success).length
        const [low, high] = wilsonInterval(solved, results.length).map(share => (100 * share).toFixed(1))
        const seams = results.flatMap(result => result.seams)
        const steps = results.flatMap(result => result.steps)
        return [
          delay.ms === 0 ? 'none' : `${delay.ms} ± ${delay.jitterMs} ms`,
          strategy,
          `${((100 * solved) / results.length).toFixed(1)} % (${low}–${high})`,
          mean(results.map(({ pauses }) => pauses)).toFixed(2),
          ...[mean(seams), percentile(seams, 0.95), mean(steps), percentile(steps, 0.95)].map(x =>
            x.toFixed(4),
          ),
        ]
      }),
    ),
  ].join('\n')
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
}
