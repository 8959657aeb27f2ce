import { Episode, noiseSeed, type TabletopObservation } from '../../tabletop/episode.js'
import { ACTION_SIZE } from '../../tabletop/scene.js'
import { promptOf, SUITE } from '../../tabletop/tasks.js'

export interface Setup {
  episodes: number
  /** Actions of a chunk that are carried out before the next chunk is asked for. */
  execute: number
  /** Seed of the first episode. */
  seed: number
}

export interface EpisodeResult {
  task: string
  success: boolean
  /** Control steps taken. */
  steps: number
  /** Round trip of every inference, in milliseconds. */
  latencies: number[]
}

/** One frame of a film: both cameras of one observation. */
export type Frame = Pick<TabletopObservation, 'image' | 'wristImage'>

/** Asks the policy: an observation and a seed for its noise in, an action chunk of rows out. */
export type Ask = (observation: TabletopObservation, seed: number) => Promise<number[][]>

/** Runs episode `index`; its task is the next of the suite, its seeds follow from `setup.seed`. */
export async function runEpisode(
  { execute, seed }: Setup,
  index: number,
  ask: Ask,
  filmed = false,
): Promise<EpisodeResult & { frames: Frame[] }> {
  const task = SUITE[index % SUITE.length]!
  const episode = new Episode(seed + index, task)
  const latencies: number[] = []
  const frames: Frame[] = []
  while (!episode.done) {
    const observation = episode.observe()
    const start = performance.now()
    const chunk = await ask(observation, noiseSeed(seed + index, episode.steps))
    latencies.push(performance.now() - start)
    if (filmed) frames.push(observation)
    for (const [row, action] of chunk.slice(0, execute).entries()) {
      if (filmed && row > 0) frames.push(episode.observe())
      episode.step(action.slice(0, ACTION_SIZE))
      if (episode.done) break
    }
  }
  if (filmed) frames.push(episode.observe())
  return { task: promptOf(task), success: episode.success, steps: episode.steps, latencies, frames }
}
