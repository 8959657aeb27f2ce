import { availableParallelism } from 'node:os'
import { Cancellation } from '../../cancellation.js'
import { type Clock, SYSTEM_CLOCK } from '../../clock.js'
import type { ErrorCode, TurboPiError } from '../../errors.js'
import type { Sampling } from '../../families/pi0/sampling.js'
import type { RuntimeObserver } from '../observer.js'
import type { PerceiveRow, Runtime } from '../runtime.js'
import { dropReasonOf, overloaded, runtimeError, shuttingDown } from './drops.js'
import type { Engine } from './engine.js'
import type { EngineWatchOptions } from './engine-watch.js'
import { Engines } from './engines.js'
import { Line } from './line.js'
import { Places } from './places.js'
import { type Admission, answer, type InferenceResult, type RunningBatch, Ticket } from './ticket.js'
import { Turns } from './turns.js'

export interface DispatcherOptions {
  /** Places of the queue; one more is refused with OVERLOADED. */
  maxWaiting?: number
  /** Sessions whose replaceable work has a place of its own besides, one each. */
  maxReplaceable?: number
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

/** What another engine may not fail with. */
const OF_THE_ENGINE: ReadonlySet<ErrorCode> = new Set(['RUNTIME_FAILED', 'ENGINE_HUNG', 'OUT_OF_MEMORY'])

/**
 * Shares the engines of one runtime, one a card, among many callers. Each inference is admitted, prepared and submitted: a place
 * in the bounded queue is taken before any work is done, preparation and engines are each given in FairQueue's order, and what
 * waits when an engine becomes free forms the next batch at once, up to its maxBatch, on the engine that is expected to answer
 * first. Passed deadlines are not started; a ticket that leaves frees its place or, as the last live row of its batch, the
 * engine. Of several engines, one that fails is left alone for a while, and its tickets are tried on another, once.
 */
export class Dispatcher {
  /** What deadlines and waits are told by. */
  readonly clock: Clock
  readonly #engines: Engines
  readonly #observer: RuntimeObserver
  readonly #drainMs: number
  readonly #places: Places
  /** Who waits to be prepared, and who for an engine. */
  readonly #turns: Turns
  readonly #line = new Line()
  #batches = 0
  readonly #running: RunningBatch[] = []
  #closing: Promise<void> | undefined
  #drained: (() => void) | undefined
  #reportedDepth = 0
  /** Recent milliseconds per row, for Retry-After. */
  #rowMs = 0

  constructor(runtime: Runtime, options: DispatcherOptions = {}) {
    const { clock = SYSTEM_CLOCK, cores = availableParallelism(), observer = {} } = options
    this.clock = clock
    this.#observer = observer
    this.#engines = new Engines(runtime, {
      overlap: options.overlap ?? true,
      watch: options.watch ?? {},
      observer,
      clock,
      hung: (engine, error, replaced) => this.#giveUp(engine, error, replaced),
      recovered: engine => {
        this.#tell(engine, undefined)
        this.#pump()
      },
    })
    this.#turns = new Turns(cores, clock, () => this.#dropExpired())
    this.#places = new Places({ shared: options.maxWaiting ?? 256, own: options.maxReplaceable ?? 256 })
    this.#drainMs = options.drainMs ?? 5000
  }

  /** Tickets that no engine has taken up. */
  get depth(): number {
    return this.#places.size
  }

  /** ENGINE_HUNG while no engine comes back from a call, RUNTIME_FAILED when none ever will: nothing is admitted. */
  get fault(): TurboPiError | undefined {
    return this.#engines.fault
  }

  /** Engines that work, of all. */
  get engines(): { working: number; of: number } {
    return { working: this.#engines.working, of: this.#engines.all.length }
  }

  /** Whether one may be well: those that failed are tried again when they have rested. */
  get mayTry(): boolean {
    return this.#engines.all.some(({ fault, resting }) => !fault && !resting)
  }

  /**
   * Takes a place in the queue. A full one first gives up what has expired, or what a longer session waits with. Throws OVERLOADED,
   * SHUTTING_DOWN or `fault`.
   */
  admit(admission: Admission): Ticket {
    if (this.#closing) throw shuttingDown()
    if (this.fault) throw this.fault
    const ticket = new Ticket(admission, this.clock)
    if (!this.#places.hasFor(ticket)) this.#dropExpired()
    if (!this.#places.hasFor(ticket)) {
      const full = overloaded(this.#places.limits.shared, this.#rowMs)
      const loser = this.#places.givesWayTo(ticket.session)
      this.#drop(loser ?? ticket, full)
      if (!loser) throw full
    }
    this.#places.add(ticket)
    this.#reportDepth()
    return ticket
  }

  /**
   * Does `work` when the ticket's turn comes. Rejects with what `work` throws, OVERLOADED when a shorter session took the
   * place, DEADLINE_EXCEEDED, SHUTTING_DOWN or what the ticket left with; it has then lost its place.
   */
  async prepare<T>(ticket: Ticket, work: () => Promise<T>): Promise<T> {
    const turn = this.#turns.take(ticket)
    if (turn) await turn
    try {
      ticket.throwIfAborted()
      return await work()
    } catch (error) {
      this.#drop(ticket, error)
      throw error
    } finally {
      this.#turns.end(ticket)
      this.#pump()
    }
  }

  /** Queues for an engine. Rejects as `prepare` does, or with the runtime's error, which every row of a failed batch gets. */
  submit(ticket: Ticket, row: PerceiveRow, sampling: Sampling): Promise<InferenceResult> {
    ticket.row = row
    ticket.sampling = sampling
    const result = ticket.wait<InferenceResult>()
    if (!ticket.settled) this.#line.push(ticket)
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
    await this.#engines.close()
  }

  /** An engine hangs. Where another works, what runs on it goes there; else everybody who waits is told. */
  #giveUp(engine: Engine, error: TurboPiError, replaced: boolean): void {
    this.#tell(engine, error)
    const elsewhere = this.#engines.anotherThan(engine)
    if (!elsewhere) for (const ticket of this.#places.all()) this.#drop(ticket, error, 'failed')
    if (!replaced)
      for (const batch of this.#running.filter(running => running.engine === engine)) {
        batch.abandoned = true
        this.#failed(batch, error)
        batch.cancellation.abort(error)
      }
    if (elsewhere) this.#pump()
  }

  /** Its tickets are tried on another engine, or fail. */
  #failed(batch: RunningBatch, error: TurboPiError): void {
    const { engine, tickets } = batch
    if (error.code === 'RUNTIME_FAILED')
      for (const changed of this.#engines.judge(batch))
        this.#tell(changed, changed === engine ? error : undefined)
    const elsewhere = OF_THE_ENGINE.has(error.code) && this.#engines.anotherThan(engine)
    for (const ticket of tickets) {
      if (!elsewhere || !ticket.mayTryAgain(this.clock.now())) {
        this.#drop(ticket, error, 'failed')
        continue
      }
      ticket.tryAgain(engine)
      this.#places.add(ticket)
      this.#line.push(ticket)
    }
    if (this.fault) for (const ticket of this.#places.all()) this.#drop(ticket, this.fault, 'failed')
  }

  #tell({ device }: Engine, error: TurboPiError | undefined): void {
    if (this.engines.of > 1) this.#observer.engine?.({ device, error, ...this.engines })
  }

  #dropExpired(): void {
    const now = this.clock.now()
    for (const ticket of this.#places.expired(now)) this.#drop(ticket, ticket.expiry(now))
  }

  #drop(ticket: Ticket, error: unknown, reason = dropReasonOf(error)): void {
    if (!ticket.fail(error)) return
    if (this.#places.remove(ticket)) {
      this.#turns.remove(ticket)
      this.#line.remove(ticket)
    }
    if (reason) this.#observer.dropped?.(reason)
  }

  /** Gives out what is free: turns to prepare, and engines. */
  #pump(): void {
    this.#turns.giveFree()
    for (let engine = this.#free(); engine; engine = this.#free())
      void this.#run(
        engine,
        this.#line.takeBatch(engine.maxBatch, steps => engine.endFor(steps)),
      )
    this.#reportDepth()
    if (this.#places.size === 0 && this.#running.length === 0) this.#drained?.()
  }

  /** The engine that takes the next batch now; undefined when none is free, nobody waits, or a busy one will be quicker. */
  #free(): Engine | undefined {
    if (this.#line.size === 0 || !this.#engines.all.some(({ free }) => free)) return undefined
    this.#dropExpired()
    const { next } = this.#line
    if (!next) return undefined
    const rows = Math.min(this.#engines.maxBatch, this.#line.size)
    return this.#engines.choose(next, rows, () => this.#pump())
  }

  #reportDepth(): void {
    if (this.#places.size === this.#reportedDepth) return
    this.#reportedDepth = this.#places.size
    this.#observer.depth?.(this.#reportedDepth)
  }

  async #run(engine: Engine, tickets: Ticket[]): Promise<void> {
    const start = this.clock.now()
    const cancellation = new Cancellation()
    const batch: RunningBatch = { engine, tickets, start, cancellation, abandoned: false }
    const number = this.#batches++
    this.#running.push(batch)
    for (const ticket of tickets) {
      this.#places.remove(ticket)
      ticket.stopWaiting(start)
      ticket.batch = batch
      if (!ticket.failedOn) ticket.onStart?.()
    }
    this.#observer.batch?.(tickets.map(ticket => ticket.waitedMs))
    try {
      const result = await engine.run(
        {
          rows: tickets.map(ticket => ticket.row),
          sampling: tickets.map(ticket => ticket.sampling),
          signal: cancellation,
        },
        () => this.#pump(),
      )
      if (batch.abandoned) return
      const rowMs = (this.clock.now() - start) / tickets.length / this.#engines.all.length
      this.#rowMs = this.#rowMs === 0 ? rowMs : 0.9 * this.#rowMs + 0.1 * rowMs
      answer(batch, number, result)
    } catch (error) {
      if (!batch.abandoned) this.#failed(batch, runtimeError(error))
    } finally {
      this.#running.splice(this.#running.indexOf(batch), 1)
      this.#pump()
    }
  }
}
