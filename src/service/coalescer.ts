import type { InferOptions, Observation } from '../contract/observation.js'
import { TurboPiError } from '../errors.js'
import { candidateKey, isSameInference } from './same-inference.js'

const MAX_TIMER_MS = 2 ** 31 - 1

/** One caller of a shared inference. */
export interface Caller {
  signal?: AbortSignal | undefined
  /** In performance.now() milliseconds; work past it is not started. */
  deadline?: number | undefined
  /** Takes an answer that comes after the deadline; otherwise the caller is refused the moment it passes. */
  acceptsLate?: boolean | undefined
  /** Called when the engine takes up the inference; at once if it already has. */
  onStart?: (() => void) | undefined
}

/** What the shared inference sees of its callers. */
export interface SharedWork {
  /** Aborted when the last caller has gone. */
  readonly signal: AbortSignal
  /** The latest deadline of all callers; undefined as soon as one has none. */
  readonly deadline: number | undefined
  /** To be called when the engine takes up the work. */
  started(): void
}

const cancelled = new TurboPiError('REQUEST_CANCELLED', 'The caller went away before its answer was ready.')

class Flight<A> implements SharedWork {
  readonly waiting = new Set<Caller>()
  readonly controller = new AbortController()
  readonly answer: Promise<A>
  deadline: number | undefined
  #started = false

  constructor(
    readonly observation: Observation,
    readonly options: InferOptions,
    caller: Caller,
    start: (work: SharedWork) => Promise<A>,
  ) {
    this.deadline = caller.deadline
    this.answer = start(this)
  }

  get signal(): AbortSignal {
    return this.controller.signal
  }

  started(): void {
    this.#started = true
    for (const caller of this.waiting) caller.onStart?.()
  }

  join(caller: Caller): void {
    if (this.#started) caller.onStart?.()
    if (this.deadline === undefined || caller.deadline === undefined) this.deadline = undefined
    else this.deadline = Math.max(this.deadline, caller.deadline)
  }
}

/**
 * Shares one inference among callers that ask for the same while it is in flight. A caller whose signal aborts or
 * whose deadline passes leaves alone; the last one to leave cancels the inference. An error reaches all.
 */
export class Coalescer<A> {
  readonly #flights = new Map<string, Flight<A>[]>()

  /** `start` is called if nothing equal is in flight. */
  async run(
    observation: Observation,
    options: InferOptions,
    caller: Caller,
    start: (work: SharedWork) => Promise<A>,
  ): Promise<{ answer: A; coalesced: boolean }> {
    const key = candidateKey(observation, options)
    const shared = this.#flights.get(key)?.find(flight => isSameInference(flight, { observation, options }))
    if (shared) {
      shared.join(caller)
      return { answer: await this.#wait(key, shared, caller), coalesced: true }
    }
    const flight = new Flight(observation, options, caller, start)
    this.#flights.set(key, [...(this.#flights.get(key) ?? []), flight])
    return { answer: await this.#wait(key, flight, caller), coalesced: false }
  }

  #wait(key: string, flight: Flight<A>, caller: Caller): Promise<A> {
    const { signal, deadline, acceptsLate } = caller
    flight.waiting.add(caller)
    return new Promise<A>((resolve, reject) => {
      const leave = (error: TurboPiError) => {
        detach()
        reject(error)
        if (flight.waiting.size > 0) return
        this.#land(key, flight)
        flight.controller.abort(error)
      }
      const onAbort = () => leave(cancelled)
      const onDeadline = () =>
        leave(new TurboPiError('DEADLINE_EXCEEDED', 'The deadline passed before an answer was ready.'))
      const timer =
        deadline === undefined || acceptsLate
          ? undefined
          : setTimeout(onDeadline, Math.min(MAX_TIMER_MS, Math.max(0, deadline - performance.now())))
      const detach = () => {
        flight.waiting.delete(caller)
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
      }
      flight.answer.then(
        answer => {
          this.#land(key, flight)
          detach()
          resolve(answer)
        },
        error => {
          this.#land(key, flight)
          detach()
          reject(error)
        },
      )
      if (signal?.aborted) onAbort()
      else signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Nobody joins a flight that has landed or was cancelled. */
  #land(key: string, flight: Flight<A>): void {
    const others = this.#flights.get(key)?.filter(other => other !== flight)
    if (others && others.length > 0) this.#flights.set(key, others)
    else this.#flights.delete(key)
  }
}
