import type { Cancellation } from '../../cancellation.js'
import type { Clock } from '../../clock.js'
import { TurboPiError } from '../../errors.js'
import type { Sampling } from '../../families/pi0/sampling.js'
import type { PerceiveRow } from '../runtime.js'
import type { Engine } from './engine.js'
import type { BatchResult } from './pipeline.js'

/** What the queue has to know of an inference before anything of it is prepared. */
export interface Admission {
  /** Whose work it is; the queue is fair between sessions. */
  session: string
  /** Latest useful completion, in the dispatcher's time; work past it is not started. */
  deadline?: number | undefined
  /**
   * Its caller will put a newer observation in its place if it waits long enough. Of such the freshest goes first: those
   * passed over are fresh themselves when their turn comes.
   */
  replaceable?: boolean | undefined
  /** Pixels to be gone through before the engine can take it. */
  pixels?: number | undefined
  /** Called when the engine takes it up. */
  onStart?: (() => void) | undefined
}

/** Pixels that an observation's pictures may have together for it to count as one: three cameras of 1280 × 720 and more. */
const COMMON_PIXELS = 2 ** 22

export interface InferenceResult {
  /** Normalised actions [actionHorizon, actionDim]. */
  actions: Float32Array
  timing: {
    /** Waiting, for the turn to be prepared and for the engine. */
    queueMs: number
    visionMs: number
    prefixMs: number
    denoiseMs: number
    /** Rows that were perceived together. */
    batch: number
  }
  /** Which engine call of the dispatcher, which of its rows, and on which card. */
  place: { batch: number; row: number; rows: number; device?: number }
}

/** What runs in an engine. */
export interface RunningBatch {
  readonly engine: Engine
  readonly tickets: readonly Ticket[]
  /** When the engine took it up. */
  readonly start: number
  readonly cancellation: Cancellation
  /** Its engine hangs, and its tickets have gone elsewhere: what becomes of it concerns nobody. */
  abandoned: boolean
}

interface Waiter {
  resolve(value: unknown): void
  reject(error: unknown): void
}

/**
 * One inference between its admission and its answer: the place that it holds in the queue. Deadline and `replaceable` may
 * be moved while it waits.
 */
export class Ticket {
  readonly session: string
  deadline: number | undefined
  replaceable: boolean
  readonly onStart: (() => void) | undefined
  /** How many observations its preparation counts for. */
  readonly weight: number
  readonly admitted: number
  /** What the engine is given; set by `submit`. */
  row!: PerceiveRow
  sampling!: Sampling
  /** The batch that it runs in. */
  batch: RunningBatch | undefined
  /** The engine that it was tried on first, and that failed. */
  failedOn: Engine | undefined
  /** It has its answer or its error. */
  settled = false
  waitedMs = 0
  readonly #clock: Clock
  #waitsSince = 0
  #error: unknown
  #waiter: Waiter | undefined

  constructor({ session, deadline, replaceable, pixels = 0, onStart }: Admission, clock: Clock) {
    this.#clock = clock
    this.admitted = clock.now()
    this.session = session
    this.deadline = deadline
    this.replaceable = replaceable ?? false
    this.weight = 1 + Math.floor(pixels / COMMON_PIXELS)
    this.onStart = onStart
  }

  expiredAt(now: number): boolean {
    return this.deadline !== undefined && this.deadline <= now
  }

  /** What it fails with when its deadline has passed. */
  expiry(now: number): TurboPiError {
    const late = Math.ceil(now - (this.deadline ?? now))
    return new TurboPiError(
      'DEADLINE_EXCEEDED',
      `The deadline passed ${late} ms ago while the request waited, so it was not started.`,
    )
  }

  /** Throws why it need not be prepared any further: it lost its place, its callers left, or its deadline has passed. */
  throwIfAborted(): void {
    if (this.settled) throw this.#error
    if (this.deadline === undefined) return
    const now = this.#clock.now()
    if (this.expiredAt(now)) throw this.expiry(now)
  }

  /** Resolves with what `wake` gives; rejects once it has failed. One may wait at a time. */
  wait<T>(): Promise<T> {
    if (this.settled) return Promise.reject(this.#error)
    this.#waitsSince = this.#clock.now()
    return new Promise<T>((resolve, reject) => {
      this.#waiter = { resolve: resolve as Waiter['resolve'], reject }
    })
  }

  /** Whether it may be tried on another engine. */
  mayTryAgain(now: number): boolean {
    return !this.settled && this.failedOn === undefined && !this.expiredAt(now)
  }

  /** It waits once more, for the answer that it waits for already. */
  tryAgain(failedOn: Engine): void {
    this.failedOn = failedOn
    this.batch = undefined
    this.#waitsSince = this.#clock.now()
  }

  /** Its turn has come. */
  stopWaiting(now: number): void {
    this.waitedMs += now - this.#waitsSince
  }

  wake(value?: unknown): void {
    this.#waiter?.resolve(value)
    this.#waiter = undefined
  }

  /** True the first time. */
  fail(error: unknown): boolean {
    if (this.settled) return false
    this.settled = true
    this.#error = error
    this.#waiter?.reject(error)
    this.#waiter = undefined
    return true
  }

  answer(result: InferenceResult): void {
    if (this.settled) return
    this.settled = true
    this.wake(result)
  }
}

/** Gives each ticket of a batch its rows. */
export function answer(
  { tickets, engine: { device } }: RunningBatch,
  batch: number,
  result: BatchResult,
): void {
  const size = result.actions.length / tickets.length
  for (const [row, ticket] of tickets.entries()) {
    ticket.answer({
      actions: result.actions.subarray(row * size, (row + 1) * size),
      timing: {
        queueMs: ticket.waitedMs + result.waitMs,
        visionMs: result.visionMs,
        prefixMs: result.prefixMs,
        denoiseMs: result.denoiseMs,
        batch: tickets.length,
      },
      place: { batch, row, rows: tickets.length, ...(device !== undefined && { device }) },
    })
  }
}
