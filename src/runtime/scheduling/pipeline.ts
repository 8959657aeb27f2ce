import { whenAllAbort } from '../../cancellation.js'
import { type Clock, SYSTEM_CLOCK } from '../../clock.js'
import { type Sampling, sameBatch } from '../../families/pi0/sampling.js'
import type { LaneSpan, RuntimeObserver } from '../observer.js'
import type { ActResult, PerceiveRow, Prefix, Runtime } from '../runtime.js'
import { runtimeError } from './drops.js'
import type { EngineWatch } from './engine-watch.js'

/** Rows that are perceived together, and share their steps. */
export interface Batch {
  rows: readonly PerceiveRow[]
  /** One a row. */
  sampling: readonly Sampling[]
  signal: AbortSignal
}

export interface BatchResult {
  /** [batch, actionHorizon, actionDim]. */
  actions: Float32Array
  visionMs: number
  prefixMs: number
  /** Of the act call, which other batches may have shared. */
  denoiseMs: number
  /** Perceived, but waiting for the act lane. */
  waitMs: number
  /** Every row was perceived. */
  whole: boolean
}

export interface PipelineOptions {
  /** Overlaps the lanes where the runtime has two; false runs one batch after the other. */
  overlap: boolean
  /** The card, on GPUs. */
  device?: number | undefined
  watch?: EngineWatch
  observer?: RuntimeObserver
  clock?: Clock
}

/** What the act lane made of one batch. */
interface Acted extends ActResult {
  /** When its act call began. */
  start: number
}

/** A perceived batch that the act lane has not taken up. */
interface Waiting {
  readonly batch: Batch
  readonly number: number
  readonly prefix: Prefix
  resolve(acted: Acted): void
  reject(error: unknown): void
}

/**
 * Two lanes and the prefixes between them: while the act lane denoises, the perceive lane goes on as long as prefix slots are
 * free, with one batch at a time, in order. The act lane takes the batch that has waited longest, and where the runtime joins
 * prefixes all that wait with as many steps, up to maxBatch rows: one stream of the weights serves them all. On a runtime with
 * one lane, a batch passes through both before the next one starts.
 */
export class Pipeline {
  readonly #runtime: Runtime
  readonly #observer: RuntimeObserver
  readonly #watch: EngineWatch | undefined
  readonly #slots: number
  readonly #device: number | undefined
  readonly #clock: Clock
  #maxBatch: number
  #started = 0
  #inFlight = 0
  #perceiving = false
  #acting = false
  /** In the order in which they were perceived. */
  #waiting: Waiting[] = []

  constructor(runtime: Runtime, options: PipelineOptions) {
    const { lanes, prefixSlots, joins, maxBatch } = runtime.info
    this.#runtime = runtime
    this.#observer = options.observer ?? {}
    this.#watch = options.watch
    this.#device = options.device
    this.#clock = options.clock ?? SYSTEM_CLOCK
    this.#maxBatch = maxBatch
    // Without joining, a third prefix would only grow old.
    this.#slots = options.overlap && lanes === 2 ? (joins ? prefixSlots : Math.min(2, prefixSlots)) : 1
  }

  /** True when a batch given now starts now. */
  get free(): boolean {
    return !this.#perceiving && this.#inFlight < this.#slots
  }

  /** Rows of one call that it has memory for, as far as is known. */
  get maxBatch(): number {
    return this.#maxBatch
  }

  /**
   * Runs a batch; only to be called while `free`. `onFree` is called each time when the next batch may start, but for the
   * end of one that fails. Rejects with the runtime's error, which all batches of a failed act call share, ENGINE_HUNG, or
   * REQUEST_CANCELLED when `signal` aborts.
   */
  async run(batch: Batch, onFree: () => void): Promise<BatchResult> {
    const number = this.#started++
    const { rows, signal } = batch
    this.#inFlight += 1
    this.#perceiving = true
    let failed = true
    try {
      const prefix = await this.#lane('perceive', number, rows.length, rows.length, () =>
        this.#runtime.perceive(rows, { signal }),
      ).finally(() => {
        this.#perceiving = false
      })
      const perceived = this.#clock.now()
      if (prefix.images) this.#observer.images?.(prefix.images.encoded, prefix.images.reused)
      const { reused } = prefix
      if (reused !== undefined) this.#observer.prefixes?.(rows.length - reused, reused)
      const acted = new Promise<Acted>((resolve, reject) => {
        this.#waiting.push({ batch, number, prefix, resolve, reject })
      })
      this.#actNext()
      onFree()
      try {
        const { actions, stepMs, start } = await acted
        failed = false
        const { visionMs, prefixMs } = prefix.timing
        return {
          actions,
          visionMs,
          prefixMs,
          denoiseMs: stepMs.reduce((sum, ms) => sum + ms, 0),
          waitMs: start - perceived,
          whole: !reused,
        }
      } finally {
        prefix.release()
      }
    } finally {
      this.#inFlight -= 1
      // Whoever hears of a failure decides first what becomes of the engine.
      if (!failed) onFree()
    }
  }

  /** Gives the act lane what waits, when it is free. */
  #actNext(): void {
    if (this.#acting) return
    const together = this.#takeWaiting()
    if (together.length === 0) return
    this.#acting = true
    void this.#act(together)
  }

  /** Takes out the batch that has waited longest, and those that may share its act call. Those given up are told. */
  #takeWaiting(): Waiting[] {
    const together: Waiting[] = []
    const left: Waiting[] = []
    let rows = 0
    for (const waiting of this.#waiting) {
      const { rows: own, sampling, signal } = waiting.batch
      if (signal.aborted) {
        waiting.reject(signal.reason)
        continue
      }
      const first = together[0]?.batch.sampling
      const fits =
        !first ||
        (this.#runtime.info.joins &&
          rows + own.length <= this.#maxBatch &&
          sameBatch(first[0]!, sampling[0]!))
      if (fits) rows += own.length
      ;(fits ? together : left).push(waiting)
    }
    this.#waiting = left
    return together
  }

  /** One act call; each batch gets its rows, or the error. */
  async #act(together: readonly Waiting[]): Promise<void> {
    const [first, ...others] = together as [Waiting, ...Waiting[]]
    const prefixes = together.map(({ prefix }) => prefix)
    const sampling =
      others.length > 0 ? together.flatMap(({ batch }) => batch.sampling) : first.batch.sampling
    const signal = whenAllAbort(together.map(({ batch }) => batch.signal))
    const start = this.#clock.now()
    const rows = sampling.length
    try {
      const { actions, stepMs } = await this.#lane('act', first.number, rows, rows * sampling[0]!.steps, () =>
        this.#runtime.act(prefixes, sampling, { signal }),
      )
      if (others.length === 0) return first.resolve({ actions, stepMs, start })
      const size = actions.length / rows
      let row = 0
      for (const { batch, resolve } of together) {
        const end = row + batch.rows.length
        resolve({ actions: actions.subarray(row * size, end * size), stepMs, start })
        row = end
      }
    } catch (error) {
      const told = runtimeError(error)
      for (const { reject } of together) reject(told)
    } finally {
      this.#acting = false
      this.#actNext()
    }
  }

  async #lane<T>(
    lane: LaneSpan['lane'],
    batch: number,
    rows: number,
    work: number,
    call: () => Promise<T>,
  ): Promise<T> {
    const start = this.#clock.now()
    try {
      return await (this.#watch?.call(lane, work, call) ?? call())
    } catch (error) {
      if (runtimeError(error).code === 'OUT_OF_MEMORY') this.#shrink(rows)
      throw error
    } finally {
      const device = this.#device !== undefined && { device: this.#device }
      this.#observer.lane?.({ lane, batch, rows, start, end: this.#clock.now(), ...device })
    }
  }

  /** There was no memory for a call of so many rows. */
  #shrink(rows: number): void {
    const before = this.#maxBatch
    this.#maxBatch = Math.max(1, Math.min(before, rows >> 1))
    if (this.#maxBatch < before) this.#observer.shrunk?.(this.#device, rows, this.#maxBatch)
  }
}
