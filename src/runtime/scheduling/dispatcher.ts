import { Cancellation } from '../../cancellation.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import type { DropReason, RuntimeObserver } from '../observer.js'
import type { Runtime } from '../runtime.js'
import type { InferenceJob, InferenceQueue, InferenceResult } from './job.js'
import { type BatchResult, Pipeline } from './pipeline.js'
import { FairQueue } from './queue.js'

export interface DispatcherOptions {
  /** Jobs that may wait; one more is refused with OVERLOADED. */
  maxWaiting?: number
  /** Whether perceive and act overlap, on runtimes that can. */
  overlap?: boolean
  /** How long `close` lets accepted work finish, in milliseconds. */
  drainMs?: number
  observer?: RuntimeObserver
}

/** A job between `submit` and its answer. */
interface Entry {
  job: InferenceJob
  submitted: number
  /** Set once the job has its answer or its error. */
  settled: boolean
  resolve(result: InferenceResult): void
  reject(error: unknown): void
  /** Stops listening to the caller's signal. */
  detach(): void
  /** The batch that it runs in. */
  batch?: RunningBatch
}

interface RunningBatch {
  entries: readonly Entry[]
  cancellation: Cancellation
}

const cancelled = new TurboPiError('REQUEST_CANCELLED', 'The caller went away before its answer was ready.')

const shuttingDown = () =>
  new TurboPiError('SHUTTING_DOWN', 'This server is shutting down; send the request to another one.')

/**
 * Shares one runtime among many callers. What waits when the engine becomes free forms the next batch at once, up to
 * the runtime's maxBatch; the order is FairQueue's. The queue is bounded, passed deadlines are not started, and
 * an aborted signal takes its job away: out of the queue, or, with the last live row, out of the engine.
 */
export class Dispatcher implements InferenceQueue {
  readonly #runtime: Runtime
  readonly #pipeline: Pipeline
  readonly #observer: RuntimeObserver
  readonly #maxWaiting: number
  readonly #drainMs: number
  readonly #queue = new FairQueue<Entry>()
  readonly #running: RunningBatch[] = []
  #closing: Promise<void> | undefined
  #drained: (() => void) | undefined
  /** Recent milliseconds per row, for Retry-After. */
  #rowMs = 0

  constructor(runtime: Runtime, options: DispatcherOptions = {}) {
    this.#runtime = runtime
    this.#observer = options.observer ?? {}
    this.#pipeline = new Pipeline(runtime, {
      overlap: options.overlap ?? true,
      observer: this.#observer,
    })
    this.#maxWaiting = options.maxWaiting ?? 256
    this.#drainMs = options.drainMs ?? 5000
  }

  /** Jobs that wait for the engine. */
  get depth(): number {
    return this.#queue.size
  }

  /**
   * Rejects with OVERLOADED (`retryAfter` set), DEADLINE_EXCEEDED, REQUEST_CANCELLED, SHUTTING_DOWN, or the
   * runtime's error, which every row of the failed batch gets.
   */
  submit(job: InferenceJob, signal?: AbortSignal): Promise<InferenceResult> {
    if (this.#closing) return Promise.reject(shuttingDown())
    if (signal?.aborted) return Promise.reject(cancelled)
    return new Promise((resolve, reject) => {
      const onAbort = () => this.#cancel(entry, signal?.reason)
      const detach = () => signal?.removeEventListener('abort', onAbort)
      const entry: Entry = { job, submitted: performance.now(), settled: false, resolve, reject, detach }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#admit(entry)
      this.#pump()
    })
  }

  /** Takes no more jobs, lets accepted ones finish for `drainMs`, rejects the rest, closes the runtime. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    if (this.#queue.size > 0 || this.#running.length > 0) {
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, this.#drainMs)
        this.#drained = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    for (const entry of this.#queue.takeAll()) this.#drop(entry, 'cancelled', shuttingDown())
    for (const batch of this.#running) {
      for (const entry of batch.entries) this.#drop(entry, 'cancelled', shuttingDown())
      batch.cancellation.abort(shuttingDown())
    }
    await this.#runtime.close()
  }

  /** Puts a job into the queue; a full one first gives up what has expired, or what a longer session waits with. */
  #admit(entry: Entry): void {
    if (this.#queue.size >= this.#maxWaiting) this.#dropExpired()
    if (this.#queue.size >= this.#maxWaiting) {
      const loser = this.#queue.takeFromLongest(this.#queue.waitingOf(entry.job.session) + 1) ?? entry
      this.#drop(loser, 'overloaded', this.#overloaded())
      if (loser === entry) return
    }
    this.#queue.push(entry)
  }

  #overloaded(): TurboPiError {
    const retryAfter = Math.max(1, Math.ceil((this.#rowMs * this.#maxWaiting) / 1000))
    return new TurboPiError(
      'OVERLOADED',
      `All ${this.#maxWaiting} places of the queue are taken; try again in ${retryAfter} s, or send fewer requests at once.`,
      { retryAfter },
    )
  }

  /** `reason` is the caller's: one whose deadline passes while it waits counts as expired. */
  #cancel(entry: Entry, reason: unknown): void {
    this.#queue.remove(entry)
    const expired = reason instanceof TurboPiError && reason.code === 'DEADLINE_EXCEEDED'
    this.#drop(entry, expired ? 'expired' : 'cancelled', expired ? reason : cancelled)
    const { batch } = entry
    if (batch?.entries.every(row => row.settled)) batch.cancellation.abort(cancelled)
    this.#pump()
  }

  #dropExpired(): void {
    const now = performance.now()
    for (const entry of this.#queue.takeExpired(now)) {
      const late = Math.ceil(now - (entry.job.deadline ?? now))
      this.#drop(
        entry,
        'expired',
        new TurboPiError(
          'DEADLINE_EXCEEDED',
          `The deadline passed ${late} ms ago while the request waited for the engine, so it was not started.`,
        ),
      )
    }
  }

  /** True the first time: an entry is answered once. */
  #settle(entry: Entry): boolean {
    if (entry.settled) return false
    entry.settled = true
    entry.detach()
    return true
  }

  #drop(entry: Entry, reason: DropReason, error: TurboPiError): void {
    if (!this.#settle(entry)) return
    this.#observer.dropped?.(reason)
    entry.reject(error)
  }

  #pump(): void {
    while (this.#pipeline.free && this.#queue.size > 0) {
      this.#dropExpired()
      const first = this.#queue.take()
      if (!first) break
      const entries = [first]
      while (entries.length < this.#runtime.info.maxBatch) {
        const next = this.#queue.take(job => job.steps === first.job.steps)
        if (!next) break
        entries.push(next)
      }
      void this.#run(entries)
    }
    this.#observer.depth?.(this.#queue.size)
    if (this.#queue.size === 0 && this.#running.length === 0) this.#drained?.()
  }

  async #run(entries: Entry[]): Promise<void> {
    const batch: RunningBatch = { entries, cancellation: new Cancellation() }
    const jobs = entries.map(entry => entry.job)
    const start = performance.now()
    this.#running.push(batch)
    for (const entry of entries) {
      entry.batch = batch
      entry.job.onStart?.()
    }
    this.#observer.batch?.(entries.map(entry => start - entry.submitted))
    try {
      const result = await this.#pipeline.run(
        {
          rows: jobs.map(job => job.row),
          sampling: jobs.map(({ noise, steps }) => ({ noise, steps })),
          signal: batch.cancellation,
        },
        () => this.#pump(),
      )
      const rowMs = (performance.now() - start) / entries.length
      this.#rowMs = this.#rowMs === 0 ? rowMs : 0.9 * this.#rowMs + 0.1 * rowMs
      this.#answer(entries, start, result)
    } catch (error) {
      const failure =
        error instanceof TurboPiError
          ? error
          : new TurboPiError('RUNTIME_FAILED', `The inference runtime failed: ${reasonOf(error)}`, {
              cause: error,
            })
      for (const entry of entries) this.#drop(entry, 'failed', failure)
    } finally {
      this.#running.splice(this.#running.indexOf(batch), 1)
      this.#pump()
    }
  }

  #answer(entries: Entry[], start: number, result: BatchResult): void {
    const size = result.actions.length / entries.length
    entries.forEach((entry, row) => {
      if (!this.#settle(entry)) return
      entry.resolve({
        actions: result.actions.subarray(row * size, (row + 1) * size),
        timing: {
          queueMs: start - entry.submitted + result.waitMs,
          visionMs: result.visionMs,
          prefixMs: result.prefixMs,
          denoiseMs: result.denoiseMs,
          batch: entries.length,
        },
      })
    })
  }
}
