import type { Config } from '../../config.js'
import { MAX_STEPS } from '../../families/pi0/sampling.js'
import { ACCESS_SETTINGS } from '../../settings/access.js'
import { usage } from '../../settings/arguments.js'
import { choice, directory, flag, integer, integers, text } from '../../settings/kinds.js'
import { promptOf, SUITE } from '../../tabletop/tasks.js'
import { type Call, command as define, refuse } from '../kit/command.js'
import { interruptible } from '../kit/interruption.js'
import { progressBar } from '../kit/progress.js'
import { type EpisodeResult, runEpisode, type Setup } from './episode.js'
import { type EvaluationResult, report } from './report.js'
import { connectRobot, PROTOCOLS, type Protocol } from './robot.js'
import { PLAYED_SETTINGS, serveForEvaluation } from './server.js'
import { writeVideo } from './video.js'

const OPTIONS = {
  episodes: integer({
    default: 200,
    min: 1,
    max: 1_000_000,
    meaning: 'episodes, shared out over the ten tasks of the suite',
  }),
  steps: integers({ default: [10], min: 1, max: MAX_STEPS, meaning: 'numbers of denoise steps to compare' }),
  protocol: choice({ default: 'stream', choices: PROTOCOLS, meaning: 'how the robot speaks to the server' }),
  url: text({ takes: 'URL', meaning: 'a server that is running, instead of one in this process' }),
  execute: integer({ default: 5, min: 1, max: 1000, meaning: 'actions carried out of each chunk' }),
  seed: integer({
    default: 0,
    min: 0,
    max: 2 ** 31,
    meaning: 'of the first episode; the same seed gives the same episodes and noise',
  }),
  video: directory({ meaning: 'write an animation (WebP) of the first episode of each task' }),
  list: flag({ meaning: 'print the tasks, and do nothing' }),
  json: flag({ meaning: 'print JSON' }),
}

export const command = define(
  {
    name: 'eval',
    forms: ['[--policy DIR] [options]', '--url URL [options]', '--list'],
    about: `
Lets a policy act on the simulated tabletop, through a real client and a server in this process (or --url), and prints
how often it succeeds. Without options: the bundled policy, 200 episodes, in minutes. It takes policies for the observations
of the tabletop alone: two cameras, state and prompt as LIBERO has them.`,
    options: OPTIONS,
    settings: {
      ...PLAYED_SETTINGS,
      apiKey: ACCESS_SETTINGS.apiKey,
    },
  },
  evaluateAll,
)

/** Prints the table; the exit code is 0 whatever the success rate. */
async function evaluateAll({ own, config, given }: Call<typeof OPTIONS>): Promise<number> {
  const { episodes, execute, seed, protocol, url, video } = own
  if (own.list) {
    for (const task of SUITE) console.log(promptOf(task))
    return 0
  }
  if (url !== undefined)
    refuse('eval', 'eval --url, whose server has its own,', given, Object.keys(PLAYED_SETTINGS))
  if (url !== undefined && protocol === 'openpi' && given.has('steps'))
    throw usage(
      'eval',
      '--steps: openpi’s protocol cannot ask for denoise steps; a server at --url takes its own. Leave --steps out.',
    )
  const setup: Setup = { episodes, execute, seed }
  const results: EvaluationResult[] = []
  await interruptible(async signal => {
    for (const steps of own.steps)
      results.push(await evaluate({ ...setup, steps, protocol, url, video, signal }, config))
  })
  console.log(own.json ? JSON.stringify({ ...setup, protocol, results }, null, 2) : report(setup, results))
  return 0
}

interface Evaluation extends Setup {
  steps: number
  protocol: Protocol
  url: string | undefined
  video: string | undefined
  signal: AbortSignal
}

/** All episodes with one number of denoise steps. */
async function evaluate(setup: Evaluation, config: Config): Promise<EvaluationResult> {
  const { steps, protocol, video, signal } = setup
  const server = setup.url === undefined ? await serveForEvaluation(config, steps, signal) : undefined
  const robot = await connectRobot(protocol, server?.url ?? setup.url!, config.apiKey)
  const bar = progressBar(
    `${steps} denoise steps {bar} {value}/{total}, {solved} solved, {eta_formatted} to go`,
  )
  const results: EpisodeResult[] = []
  const solved = () => results.filter(({ success }) => success).length
  try {
    bar.update(0, setup.episodes, { solved: 0 })
    for (let index = 0; index < setup.episodes; index++) {
      signal.throwIfAborted()
      const filmed = video !== undefined && index < SUITE.length
      const ask = (observation: Parameters<typeof robot.infer>[0], seed: number) => {
        server?.useSeed(seed)
        return robot.infer(observation, { seed, numSteps: steps })
      }
      const { frames, ...result } = await runEpisode(setup, index, ask, filmed)
      if (filmed) await writeVideo(video, index, steps, frames)
      results.push(result)
      bar.update(index + 1, setup.episodes, { solved: solved() })
    }
    // openpi's protocol does not carry them.
    const known = protocol !== 'openpi' || server !== undefined
    return {
      steps: known ? steps : null,
      protocol,
      server: server?.description ?? setup.url!,
      episodes: results,
    }
  } catch (error) {
    bar.stop()
    if (signal.aborted)
      console.error(`${results.length} of ${setup.episodes} episodes were over, ${solved()} of them solved.`)
    throw error
  } finally {
    bar.stop()
    await robot.close()
    await server?.close()
  }
}
