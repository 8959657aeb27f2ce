import { STRATEGIES, type Strategy, TurboPiClient } from '../../client/index.js'
import { MAX_STEPS } from '../../families/pi0/sampling.js'
import { flag, integer, integers, list, oneOf } from '../../settings/kinds.js'
import { wilsonInterval } from '../eval/report.js'
import { PLAYED_SETTINGS, serveForEvaluation } from '../eval/server.js'
import { type Call, command as define } from '../kit/command.js'
import { interruptible } from '../kit/interruption.js'
import { machineLine } from '../kit/machine.js'
import { progressBar } from '../kit/progress.js'
import { alignedTable } from '../kit/table.js'
import { type Delay, type MotionResult, runMotion } from './episode.js'

const OPTIONS = {
  strategies: list({
    takes: 'NAME,…',
    otherwise: STRATEGIES.join(','),
    offers: STRATEGIES,
    meaning: `of ${STRATEGIES.join(', ')}`,
    parse: name => oneOf(name, STRATEGIES),
  }),
  delay: integers({
    default: [0, 150, 300, 500],
    min: 0,
    max: 10_000,
    unit: 'ms',
    meaning: 'from an observation to its answer',
  }),
  jitter: integer({
    default: 100,
    min: 0,
    max: 10_000,
    unit: 'ms',
    meaning: 'each delay is drawn from so much more or less; none for a delay of 0',
  }),
  hertz: integer({ default: 10, min: 1, max: 1000, unit: 'hz', meaning: 'actions a second' }),
  episodes: integer({ default: 200, min: 1, max: 100_000, meaning: 'episodes of each strategy and delay' }),
  robots: integer({ default: 8, min: 1, max: 64, meaning: 'episodes at a time' }),
  steps: integer({ default: 10, min: 1, max: MAX_STEPS, meaning: 'denoise steps' }),
  seed: integer({ default: 0, min: 0, max: 2 ** 31, meaning: 'of the first episode' }),
  json: flag({ meaning: 'print JSON' }),
}

export const command = define(
  {
    name: 'motion',
    forms: ['[options]'],
    about: `
Compares the strategies of the client's chunk executor on the simulated tabletop under delays that are made up, in
simulated time: pauses, the jump where one chunk follows another, and success. A server in this process answers.`,
    options: OPTIONS,
    settings: PLAYED_SETTINGS,
  },
  call => interruptible(signal => compare(call, signal)),
)

interface Cell {
  strategy: Strategy
  delay: Delay
  results: MotionResult[]
}

/** Prints the table. */
async function compare({ own, config }: Call<typeof OPTIONS>, signal: AbortSignal): Promise<number> {
  const strategies = own.strategies.length > 0 ? (own.strategies as Strategy[]) : STRATEGIES
  const server = await serveForEvaluation(config, own.steps, signal)
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
              signal.throwIfAborted()
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
