import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { EpisodeResult } from './episodes.js'

const fromHere = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** An episode to be played, as drive.py takes it. */
export interface Job {
  condition: string
  url: string
  suite: string
  task: number
  episode: number
  execute: number
  delay: number
  strategy: string
  fault: string
  /** Takes a film of it. */
  video?: string
  /** Seconds for one answer of the server. */
  timeout: number
}

/** The environment of Python processes that drive the simulator: with our own client. */
export const pythonEnvironment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  PYTHONPATH: fromHere('../../../clients/python/src'),
})

/** A process with a simulator. It is told one episode at a time. */
class Simulator {
  task: number | undefined
  readonly #process: ChildProcess
  readonly #answers: AsyncIterator<string>

  constructor(python: string) {
    this.#process = spawn(python, [fromHere('../drive.py')], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: pythonEnvironment(),
    })
    this.#process.on('error', () => {})
    this.#process.stdin!.on('error', () => {})
    this.#answers = createInterface({ input: this.#process.stdout! })[Symbol.asyncIterator]()
  }

  /** Throws an Error for an episode that could not be played, or not within `seconds`. */
  async play(job: Job, seconds: number): Promise<EpisodeResult> {
    this.task = job.task
    const where = `${job.condition}, task ${job.task}, episode ${job.episode}`
    this.#process.stdin!.write(`${JSON.stringify(job)}\n`)
    const timer = setTimeout(() => this.stop(), 1000 * seconds)
    const { value, done } = await this.#answers.next().finally(() => clearTimeout(timer))
    if (done) throw new Error(`${where}: the simulator ended, or took more than ${seconds} s`)
    const result = JSON.parse(value) as EpisodeResult & { error?: string }
    if (result.error !== undefined) throw new Error(`${where}: ${result.error}`)
    return result
  }

  stop(): void {
    this.#process.kill('SIGKILL')
  }
}

/** Simulators side by side. */
export class Simulators {
  readonly #all: Simulator[]

  constructor(
    python: string,
    count: number,
    /** Seconds that an episode may take, the building of a simulator included. */
    private readonly seconds: number,
  ) {
    this.#all = Array.from({ length: count }, () => new Simulator(python))
  }

  /** Plays all jobs and tells each result; throws what the first that fails throws. A task's jobs stay together: it takes seconds to build. */
  async play(
    jobs: readonly Job[],
    tell: (result: EpisodeResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const waiting = new Map<number, Job[]>()
    for (const job of jobs) waiting.set(job.task, [...(waiting.get(job.task) ?? []), job])
    const next = (simulator: Simulator): Job | undefined => {
      const own = simulator.task === undefined ? undefined : waiting.get(simulator.task)
      if (own?.length) return own.shift()
      return [...waiting.values()].sort((a, b) => b.length - a.length)[0]?.shift()
    }
    let failed = false
    await Promise.all(
      this.#all.map(async simulator => {
        try {
          for (let job = next(simulator); job && !failed; job = next(simulator)) {
            signal.throwIfAborted()
            tell(await simulator.play(job, this.seconds))
          }
        } catch (error) {
          failed = true
          throw error
        }
      }),
    )
  }

  stop(): void {
    for (const simulator of this.#all) simulator.stop()
  }
}
