import { availableParallelism } from 'node:os'
import { Cancellation } from '../../cancellation.js'
import { type Clock, SYSTEM_CLOCK } from '../../clock.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { type Sampling, sameBatch } from '../../families/pi0/sampling.js'
import type { RuntimeObserver } from '../observer.js'
import type { PerceiveRow, Runtime } from '../runtime.js'
import { dropReasonOf, overloaded, shuttingDown } from './drops.js'
import { EngineHealth } from './engine-health.js'
import type { EngineWatchOptions } from './engine-watch.js'
import { Pipeline } from './pipeline.js'
import { Places } from './places.js'
import { FairQueue } from './queue.js'
import { type Admission, answer, type InferenceResult, type RunningBatch, Ticket } from './ticket.js'

export interface DispatcherOptions {
  /** Places of the queue; one more is refused with OVERLOADED. */
  maxWaiting?: number
  /** Whether perceive and act overlap, on runtimes that can. */
  overlap?: boolean
  /** How long `close` lets accepted work finish, in milliseconds. */
  drainMs?: number
  /** When a call of the engine counts as hung. */
  watch?: EngineWatchOptions
  observer?: RuntimeObserver
  /** Processor cores, which preparations share; default: this machine's. */
  cores?: number
  /** Default: the system's. */
  clock?: Clock
}

/**
 * Shares one runtime among many callers. Each inference is admitted, prepared and submitted: a place in the bounded queue
 * is taken before any work is done, preparation and engine are each given in FairQueue's order, and what waits when the
 * engine becomes free forms the next batch at once, up to the runtime's maxBatch. Passed deadlines are not started; a
 * ticket that leaves frees its place or, as the last live row of its batch, the engine.
 */
export class Dispatcher {
  /** What deadlines and waits are told by. */
  readonly clock: Clock
  readonly #runtime: Runtime
  readonly #pipeline: Pipeline
  readonly #observer: RuntimeObserver
  readonly #health: EngineHealth
  readonly #drainMs: number
  readonly #places: Places
  /** Who waits to be prepared, and who for the engine. */
  readonly #unprepared = new FairQueue(ticket => ticket.weight)
  readonly #ready = new FairQueue()
  /** Observations that are prepared at once: more would only take the processor from each other. */
  readonly #preparedAtOnce: number
  /** Of them, those with pictures larger than cameras': they leave turns, and cores, to all others. */
  readonly #largeAtOnce: number
  #preparing = 0
  #preparingLarge = 0
  #batches = 0
  readonly #running: RunningBatch[] = []
  #closing: Promise<void> | undefined
  #drained: (() => void) | undefined
  #reportedDepth = 0
  /** Recent milliseconds per row, for Retry-After. */
  #rowMs = 0

  constructor(runtime: Runtime, options: DispatcherOptions = {}) {
    this.#runtime = runtime
    this.clock = options.clock ?? SYSTEM_CLOCK
    this.#observer = options.observer ?? {}
    const { cores = availableParallelism() } = options
    this.#preparedAtOnce = cores + 1
    this.#largeAtOnce = Math.max(1, cores >> 1)
    const healed = {
      hung: (error: TurboPiError, replaced: boolean) => this.#giveUp(error, replaced),
      recovered: () => this.#pump(),
    }
    this.#health = new EngineHealth(runtime, options.watch ?? {}, this.#observer, healed, this.clock)
    this.#pipeline = new Pipeline(runtime, {
      watch: this.#health.watch,
      overlap: options.overlap ?? true,
      observer: this.#observer,
      clock: this.clock,
    })
    this.#places = new Places(options.maxWaiting ?? 256)
    this.#drainMs = options.drainMs ?? 5000
  }

  /** Tickets that the engine has not taken up. */
  get depth(): number {
    return this.#places.size
  }

  /** ENGINE_HUNG while the engine does not come back from a call: nothing is admitted. */
  get fault(): TurboPiError | undefined {
    return this.#health.fault
  }

  /**
   * Takes a place in the queue. A full one first gives up what has expired, or what a longer session waits with. Throws
   * OVERLOADED (`retryAfter` set), ENGINE_HUNG or SHUTTING_DOWN.
   */
  admit(admission: Admission): Ticket {
    if (this.#closing) throw shuttingDown()
    if (this.#health.fault) throw this.#health.fault
    if (this.#places.full) this.#dropExpired()
    if (this.#places.full) {
      const loser = this.#places.givesWayTo(admission.session)
      if (!loser) {
        this.#observer.dropped?.('overloaded')
        throw overloaded(this.#places.limit, this.#rowMs)
      }
      this.#drop(loser, overloaded(this.#places.limit, this.#rowMs))
    }
    const ticket = new Ticket(admission, this.clock)
    this.#places.add(ticket)
    this.#reportDepth()
    return ticket
  }

  /**
   * Does `work` when the ticket's turn comes. Rejects with what `work` throws, OVERLOADED when a shorter session took the
   * place, DEADLINE_EXCEEDED, SHUTTING_DOWN or what the ticket left with; it has then lost its place.
   */
  async prepare<T>(ticket: Ticket, work: () => Promise<T>): Promise<T> {
    if (this.#unprepared.size === 0 && this.#mayPrepare(ticket)) {
      // Through the line all the same: it is its session's turn of this round.
      this.#unprepared.push(ticket)
      this.#unprepared.take()
      this.#begun(ticket)
    } else await this.#turn(ticket)
    try {
      ticket.throwIfAborted()
      return await work()
    } catch (error) {
      this.#drop(ticket, error)
      throw error
    } finally {
      this.#preparing -= 1
      if (ticket.weight > 1) this.#preparingLarge -= 1
      this.#pump()
    }
  }

  readonly #mayPrepare = ({ weight }: Ticket): boolean =>
    this.#preparing < this.#preparedAtOnce && (weight === 1 || this.#preparingLarge < this.#largeAtOnce)

  #begun({ weight }: Ticket): void {
    this.#preparing += 1
    if (weight > 1) this.#preparingLarge += 1
  }

  /** Resolves when it may be prepared. */
  #turn(ticket: Ticket): Promise<void> {
    const turn = ticket.wait<void>()
    if (!ticket.settled) this.#unprepared.push(ticket)
    // Those before it may be waiting for a turn of another kind.
    this.#giveTurns()
    return turn
  }

  /** Queues for the engine. Rejects as `prepare` does, or with the runtime's error, which every row of a failed batch gets. */
  submit(ticket: Ticket, row: PerceiveRow, sampling: Sampling): Promise<InferenceResult> {
    ticket.row = row
    ticket.sampling = sampling
    const result = ticket.wait<InferenceResult>()
    if (!ticket.settled) this.#ready.push(ticket)
    this.#pump()
    return result
  }

  /** The last caller has gone. */
  leave(ticket: Ticket, error: TurboPiError): void {
    this.#drop(ticket, error)
    const { batch } = ticket
    if (batch?.tickets.every(row => row.settled)) batch.cancellation.abort(error)
    this.#pump()
  }

  /**
   * Admits no more, lets accepted work finish for `drainMs` (Infinity: until it has), rejects the rest, closes the
   * runtime. Rejects with ENGINE_HUNG when a call does not return. Idempotent.
   */
  close(drainMs = this.#drainMs): Promise<void> {
    this.#closing ??= this.#close(drainMs)
    return this.#closing
  }

  async #close(drainMs: number): Promise<void> {
    if (this.#places.size > 0 || this.#running.length > 0) {
      await new Promise<void>(resolve => {
        const callOff = Number.isFinite(drainMs) ? this.clock.after(drainMs, resolve) : undefined
        this.#drained = () => {
          callOff?.()
          resolve()
        }
      })
    }
    for (const ticket of this.#places.all()) this.#drop(ticket, shuttingDown())
    for (const batch of this.#running) {
      for (const ticket of batch.tickets) this.#drop(ticket, shuttingDown())
      batch.cancellation.abort(shuttingDown())
    }
    await this.#health.close()
  }

  #giveUp(error: TurboPiError, replaced: boolean): void {
    for (const ticket of this.#places.all()) this.#drop(ticket, error, 'failed')
    if (replaced) return
    for (const batch of this.#running) {
      for (const ticket of batch.tickets) this.#drop(ticket, error, 'failed')
      batch.cancellation.abort(error)
    }
  }

  #dropExpired(): void {
    const now = this.clock.now()
    for (const ticket of this.#places.expired(now)) this.#drop(ticket, ticket.expiry(now))
  }

  #drop(ticket: Ticket, error: unknown, reason = dropReasonOf(error)): void {
    if (!ticket.fail(error)) return
    if (this.#places.remove(ticket)) {
      this.#unprepared.remove(ticket)
      this.#ready.remove(ticket)
    }
    if (reason) this.#observer.dropped?.(reason)
  }

  /** Gives out what is free: turns to prepare, and the engine. */
  #pump(): void {
    if (this.#preparing < this.#preparedAtOnce && this.#unprepared.size > 0) this.#giveTurns()
    while (this.#pipeline.free && this.#ready.size > 0 && !this.#health.fault) {
      this.#dropExpired()
      const first = this.#ready.take()
      if (!first) break
      const tickets = [first]
      while (tickets.length < this.#runtime.info.maxBatch) {
        const next = this.#ready.take(ticket => sameBatch(ticket.sampling, first.sampling))
        if (!next) break
        tickets.push(next)
      }
      void this.#run(tickets)
    }
    this.#reportDepth()
    if (this.#places.size === 0 && this.#running.length === 0) this.#drained?.()
  }

  #reportDepth(): void {
    if (this.#places.size === this.#reportedDepth) return
    this.#reportedDepth = this.#places.size
    this.#observer.depth?.(this.#reportedDepth)
  }

  #giveTurns(): void {
    this.#dropExpired()
    while (this.#preparing < this.#preparedAtOnce) {
      const ticket = this.#unprepared.take(this.#mayPrepare)
      if (!ticket) break
      this.#begun(ticket)
      ticket.stopWaiting(this.clock.now())
      ticket.wake()
    }
  }

  async #run(tickets: Ticket[]): Promise<void> {
    const batch: RunningBatch = { tickets, cancellation: new Cancellation() }
    const number = this.#batches++
    const start = this.clock.now()
    this.#running.push(batch)
    for (const ticket of tickets) {
      this.#places.remove(ticket)
      ticket.stopWaiting(start)
      ticket.batch = batch
      ticket.onStart?.()
    }
    this.#observer.batch?.(tickets.map(ticket => ticket.waitedMs))
    try {
      const result = await this.#pipeline.run(
        {
          rows: tickets.map(ticket => ticket.row),
          sampling: tickets.map(ticket => ticket.sampling),
          signal: batch.cancellation,
        },
        () => this.#pump(),
      )
      const rowMs = (this.clock.now() - start) / tickets.length
      this.#rowMs = this.#rowMs === 0 ? rowMs : 0.9 * this.#rowMs + 0.1 * rowMs
      answer(tickets, number, result)
    } catch (error) {
      const failure =
        error instanceof TurboPiError
          ? error
          : new TurboPiError('RUNTIME_FAILED', `The inference runtime failed: ${reasonOf(error)}`, {
              cause: error,
            })
      for (const ticket of tickets) this.#drop(ticket, failure, 'failed')
    } finally {
      this.#running.splice(this.#running.indexOf(batch), 1)
      this.#pump()
    }
  }
}
