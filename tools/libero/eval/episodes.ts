import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory } from '../../../src/storage/make-directory.js'

/** An episode as drive.py tells it. */
export interface EpisodeResult {
  /** Name of the condition. */
  condition: string
  task: number
  /** Number of the benchmark's initial state. */
  episode: number
  solved: boolean
  /** Control steps taken. */
  steps: number
  /** Control steps without an action of a chunk. */
  starved: number
  /** Round trip of every inference, in milliseconds. */
  calls: number[]
  seconds: number
}

/** What all episodes of a folder have in common. */
export interface Setup {
  suite: string
  /** Prompts of its tasks. */
  tasks: string[]
  /** Digest of the policy without mutations. */
  model: string
  policy: string
  /** Actions of a chunk that are carried out before the next one is asked for, without a delay. */
  execute: number
}

/** A folder of episodes, one a line, which grows as they end and is gone on with when it is there. */
export class EpisodeFile {
  readonly episodes: EpisodeResult[] = []
  readonly #path: string

  /** Throws an Error for a folder of another setup. */
  constructor(directory: string, setup: Setup) {
    makeDirectory(directory)
    this.#path = join(directory, 'episodes.jsonl')
    const line = JSON.stringify(setup)
    if (!existsSync(this.#path)) writeFileSync(this.#path, `${line}\n`)
    // What was cut off has no end of a line; it is played again.
    const [first, ...rest] = readFileSync(this.#path, 'utf8').split('\n').slice(0, -1)
    if (first !== line)
      throw new Error(
        `${this.#path} is of another setup; name another folder with --out.\nthere ${first}\nhere  ${line}`,
      )
    writeFileSync(this.#path, [first, ...rest, ''].join('\n'))
    for (const text of rest) this.episodes.push(JSON.parse(text) as EpisodeResult)
  }

  add(result: EpisodeResult): void {
    this.episodes.push(result)
    appendFileSync(this.#path, `${JSON.stringify(result)}\n`)
  }

  has(condition: string, task: number, episode: number): boolean {
    return this.episodes.some(
      result => result.condition === condition && result.task === task && result.episode === episode,
    )
  }
}
