import { type Clock, SYSTEM_CLOCK } from '../../clock.js'
import { TurboPiError } from '../../errors.js'
import type { LaneSpan } from '../observer.js'

export interface EngineWatchOptions {
  /** Milliseconds that every call may take, however fast those before it were; default 5000. */
  atLeastMs?: number
  /** Milliseconds that a call may take while nothing is known of its lane: it may have to load or compile; default 600,000. */
  firstMs?: number
}

/** A call that takes so many times as long as recent ones of its lane, for as much work, has hung. */
const TIMES = 20
/** What is left, after each call, of the time of the slowest one. */
const MEMORY = 0.98
/** Parts of `atLeastMs` that are counted one by one: a process that was stopped and goes on has missed one of them at most. */
const PARTS = 5

interface Listener {
  /** The call has not returned in time; it may still do so. */
  hung(lane: LaneSpan['lane'], error: TurboPiError): void
  /** A call that hung has returned after all, or was given up by the runtime. */
  returned(): void
}

/** Watches that calls into the engine return. */
export class EngineWatch {
  readonly #partMs: number
  readonly #firstMs: number
  readonly #listener: Listener
  readonly #clock: Clock
  /** Milliseconds of the slowest recent call of a lane, for a unit of work. */
  readonly #slowest: Partial<Record<LaneSpan['lane'], number>> = {}
  /** Calls that have hung and not returned. */
  #hung = 0

  constructor(
    { atLeastMs = 5000, firstMs = 600_000 }: EngineWatchOptions,
    listener: Listener,
    clock: Clock = SYSTEM_CLOCK,
  ) {
    this.#clock = clock
    this.#partMs = atLeastMs / PARTS
    this.#firstMs = firstMs
    this.#listener = listener
  }

  /** True while a call that hung has not returned. */
  get waiting(): boolean {
    return this.#hung > 0
  }

  /**
   * Resolves and rejects as `run` does, or rejects with ENGINE_HUNG when that takes too long. `work` says how much it has to
   * do: rows, times denoise steps.
   */
  call<T>(lane: LaneSpan['lane'], work: number, run: () => Promise<T>): Promise<T> {
    const start = this.#clock.now()
    let parts = Math.ceil(this.#allowedMs(lane, work) / this.#partMs)
    return new Promise<T>((resolve, reject) => {
      let hung = false
      const passed = () => {
        parts -= 1
        if (parts > 0) {
          callOff = this.#clock.after(this.#partMs, passed)
          return
        }
        hung = true
        this.#hung += 1
        const error = hangs(lane, this.#clock.now() - start)
        this.#listener.hung(lane, error)
        reject(error)
      }
      let callOff = this.#clock.after(this.#partMs, passed)
      const ended = () => {
        callOff()
        if (!hung) return
        this.#hung -= 1
        this.#listener.returned()
      }
      run().then(
        result => {
          ended()
          if (!hung) this.#learn(lane, (this.#clock.now() - start) / work)
          resolve(result)
        },
        error => {
          ended()
          // What failed may have to load anew before the next call.
          if ((error as TurboPiError).code !== 'REQUEST_CANCELLED') delete this.#slowest[lane]
          reject(error)
        },
      )
    })
  }

  #allowedMs(lane: LaneSpan['lane'], work: number): number {
    const slowest = this.#slowest[lane]
    return Math.max(this.#partMs * PARTS, slowest === undefined ? this.#firstMs : TIMES * slowest * work)
  }

  #learn(lane: LaneSpan['lane'], ms: number): void {
    this.#slowest[lane] = Math.max(ms, MEMORY * (this.#slowest[lane] ?? 0))
  }
}

const hangs = (lane: string, ms: number) =>
  new TurboPiError(
    'ENGINE_HUNG',
    `The engine has not come back from a call (${lane}) for ${(ms / 1000).toFixed(1)} s, many times as long as calls take. Ask another server; if /readyz does not turn 200 again by itself, start this one anew.`,
  )
