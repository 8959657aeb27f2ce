import { resolve } from 'node:path'
import { TurboPiError } from '../errors.js'
import { DatasetWriter } from '../recording/dataset/dataset-writer.js'
import { type Episode, episodesOf } from '../recording/dataset/episodes.js'
import type { PolicyNote } from '../recording/handover.js'
import { usage } from '../settings/arguments.js'
import { directory, flag, integer, text } from '../settings/kinds.js'
import { type Call, command as define } from './kit/command.js'

const OPTIONS = {
  to: directory({ meaning: 'folder of the dataset; it must be new or empty' }),
  fps: integer({
    default: 0,
    min: 0,
    max: 1000,
    meaning: 'frames a second; 0 takes the median of the recording',
  }),
  robot: text({ takes: 'NAME', meaning: 'observations of this robot alone' }),
  gapSeconds: integer({
    default: 5,
    min: 1,
    max: 86_400,
    unit: 's',
    meaning: 'pause after which another episode begins',
  }),
  noCameras: flag({ meaning: 'leave the pictures out' }),
  onlyReported: flag({ meaning: 'leave out frames whose action was not reported by the robot' }),
}

export const command = define(
  {
    name: 'export-dataset',
    forms: ['FILE... --to DIR [options]'],
    about: `
Writes recordings (serve --record) as a LeRobotDataset v3.0: a frame an observation, with the action that the robot reported
after it, or else the first one of its chunk; pictures lie in the files of frames.

Episodes end at a reset, a mark of success or failure, another prompt, and a pause.`,
    positionals: { least: 1, most: 10_000, what: 'one recording or more', offers: 'files' },
    options: OPTIONS,
    settings: {},
  },
  exportDataset,
)

async function exportDataset({ own, positionals: files }: Call<typeof OPTIONS>): Promise<number> {
  if (own.to === undefined) throw usage('export-dataset', 'Name a folder with --to.')
  const options = { robot: own.robot, gapMs: own.gapSeconds * 1000 }
  // Twice: the rate and the cameras are known when everything has been seen.
  const seen = new Seen()
  for await (const episode of episodesOf(files, options, note => seen.policy(note))) seen.add(episode)
  const note = seen.note
  if (!note)
    throw new TurboPiError('RECORDING_INVALID', 'The recordings do not say which policy they are of.')
  const fps = own.fps || seen.fps
  const writer = new DatasetWriter(resolve(own.to), note, fps, own.noCameras ? new Set() : seen.cameras)
  let episodes = 0
  for await (const episode of episodesOf(files, options, () => {})) {
    const frames = own.onlyReported ? episode.frames.filter(({ reported }) => reported) : episode.frames
    if (frames.length === 0) continue
    await writer.add({ ...episode, frames })
    episodes += 1
  }
  writer.end()
  console.log(
    `${writer.frames} frames in ${episodes} episodes at ${fps} frames a second, ${seen.reported} with a reported action: ${own.to}`,
  )
  return 0
}

/** What is to be known before the first frame is written. */
class Seen {
  note: PolicyNote | undefined
  readonly cameras = new Set<string>()
  reported = 0
  readonly #periods: number[] = []

  /** Throws RECORDING_INVALID for recordings of policies that take other observations. */
  policy(note: PolicyNote): void {
    const shape = ({ observation, shape, joints }: PolicyNote) => JSON.stringify([observation, shape, joints])
    if (this.note && shape(this.note) !== shape(note))
      throw new TurboPiError(
        'RECORDING_INVALID',
        `The recordings are of policies with other observations or actions, ${this.note.policy} and ${note.policy}: export them apart.`,
      )
    this.note ??= note
  }

  add({ frames }: Episode): void {
    for (const [at, { recorded, reported }] of frames.entries()) {
      for (const key of Object.keys(recorded.observation.images)) this.cameras.add(key)
      if (reported) this.reported += 1
      const before = frames[at - 1]?.recorded.time
      if (before !== undefined) this.#periods.push(Number(recorded.time - before) / 1e9)
    }
  }

  get fps(): number {
    const sorted = this.#periods.sort((a, b) => a - b)
    const median = sorted[Math.floor(sorted.length / 2)] ?? 0.1
    return Math.max(1, Math.round(1 / median))
  }
}
