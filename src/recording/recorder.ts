import type { Worker } from 'node:worker_threads'
import { Counter, Gauge, Registry } from 'prom-client'
import { reasonOf, TurboPiError } from '../errors.js'
import type {
  Answered,
  Failed,
  Reported,
  ServiceListener,
  StartedOver,
  Superseded,
} from '../service/events.js'
import type { Served } from '../service/served.js'
import { startWorker } from '../worker-thread.js'
import type { Cameras } from './cameras.js'
import type { SeriesOptions } from './file-series.js'
import { packedAnswer } from './hand-answered.js'
import { type Handed, type PolicyNote, packed } from './handover.js'
import { Ring } from './ring.js'
import { SteadyClock } from './steady-clock.js'
import { WhichRobots } from './which-robots.js'
import type { WriterNews, WriterRequest } from './writer-worker.js'

/** Bytes that may be on their way to the writing thread. */
const RING_BYTES = 2 ** 26

/** Milliseconds between two lines of the log about dropped observations. */
const LOG_MS = 10_000

export interface RecorderOptions extends SeriesOptions {
  cameras: Cameras
  /** Takes what is to be in the log. */
  log: { info(what: object, text: string): void; warn(what: object, text: string): void }
  /** Bytes on their way; default 64 MiB, a power of two. */
  ringBytes?: number
}

/** What a recorder does at this moment. */
export interface RecordingStatus {
  recording: boolean
  /** Null: all but `except`, and callers without a name. */
  robots: string[] | null
  except: string[]
  /** Path of the file that is being written. */
  file: string | null
  /** Of this run of the server. */
  files: number
  observations: number
  dropped: number
  /** Why nothing can be written. */
  paused: string | null
}

/**
 * Records what a policy was asked and what it answered, by copying bytes into memory that a writing thread takes them from.
 * What finds no room is dropped, counted, and said in the log and the file.
 */
export class Recorder implements ServiceListener {
  readonly registry = new Registry()
  readonly #served: Served
  readonly #options: RecorderOptions
  readonly #which = new WhichRobots()
  readonly #clock = new SteadyClock()
  readonly #ring: Ring
  readonly #observations = this.#counter('observations_total', 'Observations handed to the recording.')
  readonly #dropped = this.#counter(
    'dropped_total',
    'Observations, reports and errors that are missing in the recording.',
  )
  readonly #on = new Gauge({
    name: 'turbo_pi_recording',
    help: '1 while something is being recorded.',
    registers: [this.registry],
  })
  #worker: Worker | undefined
  #ended: (() => void) | undefined
  #series = 0
  #count = 0
  #lost = 0
  /** Dropped since the last note of it in the file. */
  #untold = 0
  #loggedAt = Number.NEGATIVE_INFINITY
  #file: string | null = null
  #files = 0
  #paused: string | null = null

  /** Listens to the policy, and records nothing until `start`. */
  constructor(served: Served, options: RecorderOptions) {
    this.#served = served
    this.#options = options
    this.#ring = Ring.ofSize(options.ringBytes ?? RING_BYTES)
    served.listen(this)
    served.onSwap(() => {
      if (!this.#which.none) this.#begin()
    })
  }

  get status(): RecordingStatus {
    return {
      recording: !this.#which.none,
      ...this.#which.told,
      file: this.#file,
      files: this.#files,
      observations: this.#count,
      dropped: this.#lost,
      paused: this.#paused,
    }
  }

  /** Records these robots, too; without names all, and callers without a name. Throws NOT_READY before the policy is. */
  start(robots?: readonly string[]): RecordingStatus {
    const { service } = this.#served.current
    if (service.metadata().model === null)
      throw new TurboPiError(
        'NOT_READY',
        'What is to be recorded is still loading; ask /readyz and try again.',
      )
    const stood = this.#which.none
    this.#which.add(robots)
    if (stood && !this.#which.none) this.#begin()
    return this.status
  }

  /** Records these robots no longer; without names nobody. Resolves when what was recorded is in its file, whole. */
  async stop(robots?: readonly string[]): Promise<RecordingStatus> {
    this.#which.remove(robots)
    if (this.#which.none && this.#worker) await this.#end()
    return this.status
  }

  async close(): Promise<void> {
    await this.stop()
    await this.#worker?.terminate()
    this.#worker = undefined
  }

  answered(event: Answered): void {
    if (!this.#which.has(event.robot)) return
    const offset = this.#clock.offset()
    const cameras = this.#options.cameras !== 'off'
    this.#count += 1
    this.#observations.inc()
    this.#hand(packedAnswer(event, { series: this.#series, id: this.#count, offset, cameras }))
  }

  failed({ session, robot, seq, at, error }: Failed): void {
    if (!this.#which.has(robot) || (error instanceof TurboPiError && error.code === 'REQUEST_CANCELLED'))
      return
    const code = error instanceof TurboPiError ? error.code : 'INTERNAL'
    this.#tell({
      kind: 'failed',
      session,
      robot,
      seq,
      at: this.#clock.unix(at),
      code,
      detail: reasonOf(error),
    })
  }

  superseded({ session, robot, at }: Superseded): void {
    if (this.#which.has(robot)) this.#tell({ kind: 'superseded', session, robot, at: this.#clock.unix(at) })
  }

  startedOver({ session, robot, at }: StartedOver): void {
    if (this.#which.has(robot)) this.#tell({ kind: 'startedOver', session, robot, at: this.#clock.unix(at) })
  }

  reported({ session, robot, at, executed, marks }: Reported): void {
    if (!this.#which.has(robot)) return
    const here = <T extends { at: number }>(told: T): T => ({ ...told, at: this.#clock.unix(told.at) })
    const head = { kind: 'reported', session, robot, at: this.#clock.unix(at) } as const
    this.#tell({ ...head, executed: executed.map(here), marks: marks.map(here) })
  }

  #tell(head: Handed): void {
    this.#hand(packed(this.#series, head))
  }

  #hand(parts: readonly Uint8Array[]): void {
    if (!(this.#tellDropped() && this.#ring.write(parts))) {
      this.#untold += 1
      this.#drop()
    }
    if (this.#ring.toBeWoken()) this.#ask({ ask: 'wake' })
  }

  /** False when there is no room to say what was dropped. */
  #tellDropped(): boolean {
    if (this.#untold === 0) return true
    const note = { kind: 'dropped', at: Date.now(), records: this.#untold } as const
    if (!this.#ring.write(packed(this.#series, note))) return false
    this.#untold = 0
    return true
  }

  #drop(): void {
    this.#lost += 1
    this.#dropped.inc()
    const now = performance.now()
    if (now - this.#loggedAt < LOG_MS) return
    this.#loggedAt = now
    this.#options.log.warn({ dropped: this.#lost }, 'records are missing in the recording')
  }

  #begin(): void {
    const { cameras, directory, maxBytes, maxMs, minFree } = this.#options
    this.#on.set(1)
    this.#worker ??= this.#started()
    const options = { directory, maxBytes, maxMs, minFree }
    this.#series += 1
    this.#ask({ ask: 'begin', series: this.#series, note: this.#note(), options, cameras })
  }

  #end(): Promise<void> {
    this.#on.set(0)
    const ended = new Promise<void>(resolve => {
      this.#ended = resolve
    })
    this.#ask({ ask: 'end', dropped: this.#untold })
    this.#untold = 0
    return ended
  }

  #note(): PolicyNote {
    const { name, current } = this.#served
    const { policy, model, runtime, observation, shape, joints, defaultSteps } = current.service.metadata()
    return { served: name, policy, model, runtime, observation, shape, joints, defaultSteps }
  }

  #started(): Worker {
    const worker = startWorker('writer-worker', import.meta.url)
    worker.on('message', (news: WriterNews) => this.#hear(news))
    worker.on('error', error => {
      this.#options.log.warn({ err: error }, 'the recording has ended with an error')
    })
    worker.once('exit', () => {
      this.#worker = undefined
      this.#which.remove()
      this.#on.set(0)
      this.#file = null
      this.#ended?.()
    })
    worker.postMessage(this.#ring.shared)
    return worker
  }

  #ask(request: WriterRequest): void {
    this.#worker?.postMessage(request)
  }

  #hear(news: WriterNews): void {
    const { log } = this.#options
    switch (news.news) {
      case 'opened':
        this.#file = news.file
        this.#files += 1
        return log.info({ file: news.file }, 'recording')
      case 'closed':
        this.#file = null
        return log.info({ file: news.file, bytes: news.bytes }, 'recorded')
      case 'lost':
        return this.#drop()
      case 'paused':
        this.#paused = news.reason
        if (news.reason === null) return log.info({}, 'the recording goes on')
        return log.warn({ reason: news.reason }, 'the recording stands still')
      case 'ended':
        this.#ended?.()
    }
  }

  #counter(name: string, help: string): Counter {
    return new Counter({ name: `turbo_pi_recording_${name}`, help, registers: [this.registry] })
  }
}
