import type { Clock } from '../../clock.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import type { LaneSpan, RuntimeObserver } from '../observer.js'
import type { Runtime } from '../runtime.js'
import { EngineWatch, type EngineWatchOptions } from './engine-watch.js'

interface Listener {
  /** Everybody who waits is to be told; what runs is to be given up, too, where the engine cannot be replaced. */
  hung(error: TurboPiError, replaced: boolean): void
  recovered(): void
}

/** Whether the engine comes back from its calls, and another one in its place when it does not. */
export class EngineHealth {
  readonly watch: EngineWatch
  readonly #runtime: Runtime
  readonly #observer: RuntimeObserver
  readonly #listener: Listener
  #fault: TurboPiError | undefined
  #renewing = false

  constructor(
    runtime: Runtime,
    options: EngineWatchOptions,
    observer: RuntimeObserver,
    listener: Listener,
    clock: Clock,
  ) {
    this.#runtime = runtime
    this.#observer = observer
    this.#listener = listener
    this.watch = new EngineWatch(
      options,
      { hung: (lane, error) => this.#hung(lane, error), returned: () => this.#returned() },
      clock,
    )
  }

  /** ENGINE_HUNG from a call that did not return until the engine works again. */
  get fault(): TurboPiError | undefined {
    return this.#fault
  }

  /** Rejects with the fault, for closing would wait for the call that does not return. */
  async close(): Promise<void> {
    const closed = this.#runtime.close()
    if (!this.#fault) return closed
    closed.catch(() => {})
    throw this.#fault
  }

  #hung(lane: LaneSpan['lane'], error: TurboPiError): void {
    this.#observer.hung?.(error)
    if (this.#fault) return
    this.#fault = error
    const replaced = this.#runtime.renew !== undefined
    this.#listener.hung(error, replaced)
    if (replaced) void this.#renew(lane, error)
  }

  async #renew(lane: LaneSpan['lane'], fault: TurboPiError): Promise<void> {
    this.#renewing = true
    try {
      await this.#runtime.renew?.(lane)
      this.#recovered()
    } catch (error) {
      this.#fault = new TurboPiError('ENGINE_HUNG', `${fault.message} ${reasonOf(error)}`)
    } finally {
      this.#renewing = false
    }
  }

  /** A call that hung has come back, late. */
  #returned(): void {
    if (this.#fault && !this.#renewing && !this.watch.waiting) this.#recovered()
  }

  #recovered(): void {
    this.#fault = undefined
    this.#observer.recovered?.()
    this.#listener.recovered()
  }
}
