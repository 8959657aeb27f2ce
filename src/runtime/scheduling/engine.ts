import type { Clock } from '../../clock.js'
import type { TurboPiError } from '../../errors.js'
import type { RuntimeObserver } from '../observer.js'
import type { Runtime } from '../runtime.js'
import { EngineHealth } from './engine-health.js'
import type { EngineWatchOptions } from './engine-watch.js'
import { type Batch, type BatchResult, Pipeline } from './pipeline.js'
import { ServiceTimes } from './service-times.js'

/** Milliseconds for which an engine that failed is left alone: the first time, and at most. */
const FIRST_REST_MS = 1000
const LONGEST_REST_MS = 60_000
/** Failures in a row from which one that is alone counts as broken: fewer may be the fault of what it was given. */
const ALONE = 3

export interface EngineOptions {
  /** There is no other. */
  alone?: boolean
  overlap: boolean
  watch: EngineWatchOptions
  observer: RuntimeObserver
  clock: Clock
  /** As EngineHealth tells it. */
  hung(engine: Engine, error: TurboPiError, replaced: boolean): void
  /** It works again after it hung or failed. */
  recovered(engine: Engine): void
}

/** One runtime of a dispatcher, on its card: its lanes, whether it comes back from its calls, and how long they take. */
export class Engine {
  readonly runtime: Runtime
  /** The card, as CUDA counts them; undefined on CPUs. */
  readonly device: number | undefined
  readonly #pipeline: Pipeline
  readonly #health: EngineHealth
  readonly #clock: Clock
  readonly #recovered: () => void
  /** From the start of a batch until the next may start, and until its answer. */
  readonly #occupied = new ServiceTimes()
  readonly #whole = new ServiceTimes()
  /** When the last batch was started, and is expected to let the next one start. */
  #startedAt = Number.NEGATIVE_INFINITY
  #freeAt = 0
  /** Failures in a row that say nothing yet. */
  readonly #tolerated: number
  /** Failures since the last batch that succeeded. */
  #failures = 0
  #failedAt = 0

  constructor(runtime: Runtime, options: EngineOptions) {
    const { alone = false, overlap, watch, observer, clock, hung, recovered } = options
    this.#tolerated = alone ? ALONE - 1 : 0
    this.runtime = runtime
    const device = runtime.info.cards?.[0]
    this.device = device
    this.#clock = clock
    const healed = {
      hung: (error: TurboPiError, replaced: boolean) => hung(this, error, replaced),
      recovered: () => recovered(this),
    }
    this.#recovered = healed.recovered
    this.#health = new EngineHealth(runtime, watch, observer, healed, clock)
    this.#pipeline = new Pipeline(runtime, { watch: this.#health.watch, overlap, device, observer, clock })
  }

  /** ENGINE_HUNG while it does not come back from a call; RUNTIME_FAILED when it has failed for good. */
  get fault(): TurboPiError | undefined {
    return this.runtime.broken ?? this.#health.fault
  }

  /** True when a batch given now starts now. */
  get free(): boolean {
    return this.#pipeline.free && !this.fault
  }

  /** True from a failure until a batch has succeeded. */
  get failing(): boolean {
    return this.#failures > 0
  }

  /** False from a failure until a batch has succeeded, and while there is a fault. */
  get working(): boolean {
    return this.#failures <= this.#tolerated && !this.fault
  }

  /** Left alone after a failure: longer each time, for what is broken fails at once and costs a batch its second try. */
  get resting(): boolean {
    const counted = this.#failures - this.#tolerated
    const restMs = Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** (counted - 1))
    return counted > 0 && this.#clock.now() - this.#failedAt < restMs
  }

  get startedAt(): number {
    return this.#startedAt
  }

  /** Milliseconds for which it is expected to take up nothing more. */
  get busyMs(): number {
    return Math.max(1, Math.abs(this.#freeAt - this.#clock.now()))
  }

  /**
   * When a batch would have its answer. An engine that is overdue counts as busy for as long again, so that nothing waits for one
   * that has hung until that is noticed.
   */
  expectedEnd(rows: number, steps: number, now: number): number {
    const begins = this.#pipeline.free ? now : now + this.busyMs
    return begins + this.#whole.expected(rows, steps, now)
  }

  /** When a batch of so many rows that it is given now would have its answers, as far as is known. */
  endFor(steps: number): (rows: number) => number {
    const now = this.#clock.now()
    let needed: ((rows: number) => number) | undefined
    return rows => {
      needed ??= this.#whole.needed(steps, now)
      return now + needed(rows)
    }
  }

  /** As `Pipeline.run`. */
  async run(batch: Batch, onFree: () => void): Promise<BatchResult> {
    const start = this.#clock.now()
    const rows = batch.rows.length
    const { steps } = batch.sampling[0]!
    this.#startedAt = start
    this.#freeAt = start + this.#occupied.expected(rows, steps, start)
    let occupied = true
    const result = await this.#pipeline.run(batch, () => {
      if (occupied && this.#pipeline.free) {
        occupied = false
        const now = this.#clock.now()
        this.#occupied.learn(rows, steps, now - start, now)
      }
      onFree()
    })
    const now = this.#clock.now()
    // What was spared a batch says nothing of the next.
    if (result.whole) this.#whole.learn(rows, steps, now - start, now)
    const back = !this.working
    this.#failures = 0
    if (back) this.#recovered()
    return result
  }

  /** Rows of one batch that it has memory for. */
  get maxBatch(): number {
    return this.#pipeline.maxBatch
  }

  /** A batch that was given at `start` failed, and not for its own sake. What it had in hand then does not count again. */
  fail(start: number): void {
    if (this.#failures > 0 && start < this.#failedAt) return
    this.#failures += 1
    this.#failedAt = this.#clock.now()
  }

  /** What failed here fails elsewhere, too. */
  absolve(): void {
    this.#failures = 0
  }

  close(): Promise<void> {
    return this.#health.close()
  }
}
