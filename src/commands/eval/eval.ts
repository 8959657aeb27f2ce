import { type Config, loadConfig } from '../../config.js'
import { TurboPiError } from '../../errors.js'
import { MAX_STEPS } from '../../families/pi0/sampling.js'
import { SUITE } from '../../tabletop/tasks.js'
import { choice, flag, integer, integers, takeOptions, text } from '../kit/options.js'
import { progressBar } from '../kit/progress.js'
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
  episodes: integer(200, 1, 1_000_000),
  steps: integers([10], 1, MAX_STEPS),
  protocol: choice('stream', PROTOCOLS),
  url: text(),
  execute: integer(5, 1, 1000),
  seed: integer(0, 0, 2 ** 31),
  video: text(),
  json: flag(),
}

/** `turbo-pi eval`: prints the table; the exit code is 0 whatever the success rate. */
export async function run(argv: string[]): Promise<number> {
  const { own, rest, given } = takeOptions(argv, OPTIONS)
  const { episodes, execute, seed, protocol } = own
  const setup: Setup = { episodes, execute, seed }
  const config = loadConfig(rest)
  if (own.url !== undefined && protocol === 'openpi' && given.has('steps'))
    throw new TurboPiError(
      'CONFIG_INVALID',
      '--steps: openpi’s protocol cannot ask for denoise steps; a server at --url takes its own. Leave --steps out.',
    )
  const results: EvaluationResult[] = []
  for (const steps of own.steps)
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
  const bar = progressBar(
    `${steps} denoise steps {bar} {value}/{total}, {solved} solved, {eta_formatted} to go`,
  )
  try {
    bar.update(0, setup.episodes, { solved: 0 })
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
      const solved = results.filter(({ success }) => success).length
      bar.update(index + 1, setup.episodes, { solved })
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
