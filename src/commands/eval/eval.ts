import cliProgress from 'cli-progress'
import { type Config, loadConfig } from '../../config.js'
import { TurboPiError } from '../../errors.js'
import { SUITE } from '../../tabletop/tasks.js'
import { takeOptions } from '../kit/options.js'
import { type EpisodeResult, runEpisode, type Setup } from './episode.js'
import { type EvaluationResult, report } from './report.js'
import { connectRobot, PROTOCOLS, type Protocol } from './robot.js'
import { serveForEvaluation } from './server.js'
import { writeVideo } from './video.js'

export const help = `turbo-pi eval [options] [options of serve]

Lets a policy act on the simulated tabletop, through a real client and a server in this process (or --url), and prints
how often it succeeds. 5 of the actions of a chunk are carried out before the next one is asked for.

  --episodes N        episodes, shared out over the ten tasks of the suite [200]
  --steps 1,3,10      denoise steps to compare [10]
  --protocol NAME     stream, openpi or http [stream]
  --url URL           a server that is running, instead of one in this process
  --execute N         actions carried out of each chunk [5]
  --seed N            of the first episode; the same seed gives the same episodes and noise [0]
  --video DIR         writes an animation (WebP) of the first episode of each task
  --json              print JSON`

const OPTIONS = {
  episodes: { type: 'string', default: '200' },
  steps: { type: 'string', default: '10' },
  protocol: { type: 'string', default: 'stream' },
  url: { type: 'string' },
  execute: { type: 'string', default: '5' },
  seed: { type: 'string', default: '0' },
  video: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const

/** `turbo-pi eval`: prints the table; the exit code is 0 whatever the success rate. */
export async function run(argv: string[]): Promise<number> {
  const { own, rest } = takeOptions(argv, OPTIONS)
  const setup: Setup = {
    episodes: integer('episodes', own.episodes, 1, 1_000_000),
    execute: integer('execute', own.execute, 1, 1000),
    seed: integer('seed', own.seed, 0, 2 ** 31),
  }
  const stepCounts = own.steps.split(',').map(text => integer('steps', text, 1, 50))
  const protocol = protocolOf(own.protocol)
  const config = loadConfig(rest)
  if (own.url !== undefined && protocol === 'openpi' && argv.some(word => word.startsWith('--steps')))
    throw new TurboPiError(
      'CONFIG_INVALID',
      '--steps: openpi’s protocol cannot ask for denoise steps; a server at --url takes its own. Leave --steps out.',
    )
  const results: EvaluationResult[] = []
  for (const steps of stepCounts)
    results.push(await evaluate({ ...setup, steps, protocol, url: own.url, video: own.video }, config))
  console.log(own.json ? JSON.stringify({ ...setup, protocol, results }, null, 2) : report(setup, results))
  return 0
}

interface Evaluation extends Setup {
  steps: number
  protocol: Protocol
  url: string | undefined
  video: string | undefined
}

/** All episodes with one number of denoise steps. */
async function evaluate(setup: Evaluation, config: Config): Promise<EvaluationResult> {
  const { steps, protocol, video } = setup
  const server = setup.url === undefined ? await serveForEvaluation(config, steps) : undefined
  const robot = await connectRobot(protocol, server?.url ?? setup.url!, config.apiKey)
  const bar = new cliProgress.SingleBar({
    format: `${steps} denoise steps {bar} {value}/{total}, {solved} solved, {eta_formatted} to go`,
    clearOnComplete: true,
  })
  const shown = process.stderr.isTTY
  if (shown) bar.start(setup.episodes, 0, { solved: 0 })
  try {
    const results: EpisodeResult[] = []
    for (let index = 0; index < setup.episodes; index++) {
      const filmed = video !== undefined && index < SUITE.length
      const ask = (observation: Parameters<typeof robot.infer>[0], seed: number) => {
        server?.useSeed(seed)
        return robot.infer(observation, { seed, numSteps: steps })
      }
      const { frames, ...result } = await runEpisode(setup, index, ask, filmed)
      if (filmed) await writeVideo(video, index, steps, frames)
      results.push(result)
      if (shown) bar.update(index + 1, { solved: results.filter(({ success }) => success).length })
    }
    // openpi's protocol does not carry them.
    const known = protocol !== 'openpi' || server !== undefined
    return {
      steps: known ? steps : null,
      protocol,
      server: server?.description ?? setup.url!,
      episodes: results,
    }
  } finally {
    bar.stop()
    await robot.close()
    await server?.close()
  }
}

function integer(name: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isInteger(value) && value >= min && value <= max) return value
  throw new TurboPiError(
    'CONFIG_INVALID',
    `--${name} takes an integer from ${min} to ${max}, got ${JSON.stringify(text)}.`,
  )
}

function protocolOf(text: string): Protocol {
  if ((PROTOCOLS as readonly string[]).includes(text)) return text as Protocol
  throw new TurboPiError(
    'CONFIG_INVALID',
    `--protocol is one of ${PROTOCOLS.join(', ')}, got ${JSON.stringify(text)}.`,
  )
}
