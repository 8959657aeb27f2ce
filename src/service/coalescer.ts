import { Cancellation } from '../cancellation.js'
import type { InferOptions, Observation } from '../contract/observation.js'
import { TurboPiError } from '../errors.js'
import { inferenceKey, isSameInference } from './same-inference.js'

const MAX_TIMER_MS = 2 ** 31 - 1

/** One caller of a shared inference. */
export interface Caller {
  signal?: AbortSignal | undefined
  /** In performance.now() milliseconds; work past it is not started. */
  deadline?: number | undefined
  /** Takes an answer that comes after the deadline; otherwise the caller is refused the moment it passes. */
  acceptsLate?: boolean | undefined
  /** A newer observation will take its place while it waits. */
  replaceable?: boolean | undefined
  /** Called when the engine takes up the inference; at once if it already has. */
  onStart?: (() => void) | undefined
}

/** What the shared inference sees of its callers. */
export interface SharedWork {
  /** Aborted when the last caller has gone. */
  readonly signal: AbortSignal
  /** The latest deadline of all callers; undefined as soon as one has none. */
  readonly deadline: number | undefined
  /** Whether it is to all callers. */
  readonly replaceable: boolean
  /** To be called when the engine takes up the work. */
  started(): void
}

const cancelled = new TurboPiError('REQUEST_CANCELLED', 'The caller went away before its answer was ready.')

class Flight<A> implements SharedWork {
  readonly waiting: Caller[] = []
  readonly signal = new Cancellation()
  readonly answer: Promise<A>
  deadline: number | undefined
  replaceable: boolean
  #started = false

  constructor(
    readonly key: number,
    readonly observation: Observation,
    readonly options: InferOptions,
    caller: Caller,
    start: (work: SharedWork) => Promise<A>,
  ) {
    this.deadline = caller.deadline
    this.replaceable = caller.replaceable ?? false
    this.answer = start(this)
  }

  started(): void {
    this.#started = true
    for (const caller of this.waiting) caller.onStart?.()
  }

  join(caller: Caller): void {
    if (this.#started) caller.onStart?.()
    this.replaceable &&= caller.replaceable ?? false
    if (this.deadline === undefined || caller.deadline === undefined) this.deadline = undefined
    else this.deadline = Math.max(this.deadline, caller.deadline)
  }
}

/**
 * Shares one inference among callers that ask for the same while it is in flight. A caller whose signal aborts or
 * whose deadline passes leaves alone; the last one to leave cancels the inference. An error reaches all.
 */
export class Coalescer<A> {
  // A list, for a hash table that grows and shrinks at every request leaves its old tables to full collections, and with
  // them the frames that they hold.
  readonly #flights: Flight<A>[] = []

  /** `start` is called if nothing equal is in flight. */
  async run(
    observation: Observation,
    options: InferOptions,
    caller: Caller,
    start: (work: SharedWork) => Promise<A>,
  ): Promise<{ answer: A; coalesced: boolean }> {
    const key = inferenceKey(observation, options)
    const shared = this.#flights.find(
      flight => flight.key === key && isSameInference(flight, { observation, options }),
    )
    if (shared) {
      shared.join(caller)
      return { answer: await this.#wait(shared, caller), coalesced: true }
    }
    const flight = new Flight(key, observation, options, caller, start)
    this.#flights.push(flight)
    return { answer: await this.#wait(flight, caller), coalesced: false }
  }

  #wait(flight: Flight<A>, caller: Caller): Promise<A> {
    const { signal, deadline, acceptsLate } = caller
    flight.waiting.push(caller)
    return new Promise<A>((resolve, reject) => {
      const leave = (error: TurboPiError) => {
        detach()
        reject(error)
        if (flight.waiting.length > 0) return
        this.#land(flight)
        flight.signal.abort(error)
      }
      const onAbort = () => leave(cancelled)
      const onDeadline = () =>
        leave(new TurboPiError('DEADLINE_EXCEEDED', 'The deadline passed before an answer was ready.'))
      const timer =
        deadline === undefined || acceptsLate
          ? undefined
          : setTimeout(onDeadline, Math.min(MAX_TIMER_MS, Math.max(0, deadline - performance.now())))
      const detach = () => {
        flight.waiting.splice(flight.waiting.indexOf(caller), 1)
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
      }
      flight.answer.then(
        answer => {
          this.#land(flight)
          detach()
          resolve(answer)
        },
        error => {
          this.#land(flight)
          detach()
          reject(error)
        },
      )
      if (signal?.aborted) onAbort()
      else signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Nobody joins a flight that has landed or was cancelled. */
  #land(flight: Flight<A>): void {
    const at = this.#flights.indexOf(flight)
    if (at >= 0) this.#flights.splice(at, 1)
  }
}
