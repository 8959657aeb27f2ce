import { type Clock, SYSTEM_CLOCK } from '../../clock.js'
import type { Sampling } from '../../families/pi0/sampling.js'
import type { RuntimeObserver } from '../observer.js'
import type { PerceiveRow, Runtime } from '../runtime.js'
import type { EngineWatch } from './engine-watch.js'

/** One engine call: rows that share their steps. */
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
  denoiseMs: number
  /** Perceived, but waiting for the act lane. */
  waitMs: number
}

export interface PipelineOptions {
  /** Overlaps the lanes where the runtime has two; false runs one batch after the other. */
  overlap: boolean
  watch?: EngineWatch
  observer?: RuntimeObserver
  clock?: Clock
}

/**
 * Two lanes and a double buffer of prefixes: while the act lane denoises batch N, the perceive lane works on batch
 * N + 1. Each lane takes one batch at a time, in order. On a runtime with one lane, a batch passes through both
 * before the next one starts.
 */
export class Pipeline {
  readonly #runtime: Runtime
  readonly #observer: RuntimeObserver
  readonly #watch: EngineWatch | undefined
  readonly #slots: number
  readonly #clock: Clock
  #started = 0
  #inFlight = 0
  #perceiving = false
  #acting: Promise<unknown> = Promise.resolve()

  constructor(runtime: Runtime, options: PipelineOptions) {
    this.#runtime = runtime
    this.#observer = options.observer ?? {}
    this.#watch = options.watch
    this.#clock = options.clock ?? SYSTEM_CLOCK
    this.#slots = options.overlap && runtime.info.lanes === 2 ? Math.min(2, runtime.info.prefixSlots) : 1
  }

  /** True when a batch given now starts now. */
  get free(): boolean {
    return !this.#perceiving && this.#inFlight < this.#slots
  }

  /**
   * Runs a batch; only to be called while `free`. `onFree` is called each time when the next batch may start, but for the
   * end of one that fails. Rejects with the runtime's error, ENGINE_HUNG, or REQUEST_CANCELLED when `signal` aborts.
   */
  async run(batch: Batch, onFree: () => void): Promise<BatchResult> {
    const number = this.#started++
    const { rows, sampling, signal } = batch
    this.#inFlight += 1
    this.#perceiving = true
    let failed = true
    try {
      const prefix = await this.#lane('perceive', number, rows.length, () =>
        this.#runtime.perceive(rows, { signal }),
      ).finally(() => {
        this.#perceiving = false
      })
      const perceived = this.#clock.now()
      if (prefix.images) this.#observer.images?.(prefix.images.encoded, prefix.images.reused)
      let actStart = perceived
      const act = this.#acting.then(() => {
        signal.throwIfAborted()
        actStart = this.#clock.now()
        const work = rows.length * sampling[0]!.steps
        return this.#lane('act', number, work, () => this.#runtime.act(prefix, sampling, { signal }))
      })
      this.#acting = act.catch(() => undefined)
      onFree()
      try {
        const { actions, stepMs } = await act
        failed = false
        const { visionMs, prefixMs } = prefix.timing
        return {
          actions,
          visionMs,
          prefixMs,
          denoiseMs: stepMs.reduce((sum, ms) => sum + ms, 0),
          waitMs: actStart - perceived,
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

  async #lane<T>(lane: 'perceive' | 'act', batch: number, work: number, call: () => Promise<T>): Promise<T> {
    const start = this.#clock.now()
    try {
      return await (this.#watch?.call(lane, work, call) ?? call())
    } finally {
      this.#observer.lane?.({ lane, batch, start, end: this.#clock.now() })
    }
  }
}
