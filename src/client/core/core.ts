import type { ExecutedAction, MarkKind } from '../../contract/report.js'
import { type ActionChunk, chunkOf } from '../chunk.js'
import {
  type ClientError,
  ConnectionError,
  DeadlineError,
  ModelMismatchError,
  RemoteError,
  SkippedError,
} from '../errors.js'
import type { Observed } from '../observation.js'
import { type Call, Calls, type Outcome, type Sent } from './calls.js'
import { Link, type LinkOptions } from './link.js'
import type { Incoming, Outgoing } from './messages.js'
import { rowsOf, rtcOf } from './options.js'
import { Reports } from './reports.js'
import { ServerClock, type TimeSample, timeSample } from './server-clock.js'

export type ServerReady = Extract<Incoming, { type: 'ready' }>

export interface CoreOptions extends LinkOptions {
  /** Milliseconds after its deadline that a call waits for the server's word. Default 500. */
  graceMs?: number | undefined
  /** Milliseconds that a call without a deadline may wait. Default 30 000. */
  timeoutMs?: number | undefined
}

/** What the core wants done. None of it may call the core back before it has returned. */
export interface CoreEffects {
  connect(): void
  drop(code: number, reason: string): void
  send(message: Outgoing): void
  /** False while much of what was sent has not left yet. */
  hasRoom(): boolean
  ready(server: ServerReady): void
  lost(error: ClientError, final: boolean): void
  reconnecting(inMs: number): void
  /** The server has answered a `time` message. */
  timed(sample: TimeSample): void
}

/**
 * The client's side of `WS /stream` as a state machine: no socket, no timer and no clock of its own. It is told what
 * happens and when (`now`, in milliseconds of one clock), and says what is to be done. Every call that it
 * takes is settled: by an answer, an error, its deadline, or the loss of the connection. test/client/scenarios.json says
 * what it does, for clients in other languages too.
 */
export class ClientCore {
  readonly #options: CoreOptions
  readonly #effects: CoreEffects
  readonly #link: Link
  readonly #calls = new Calls()
  readonly #reports = new Reports()
  readonly clock = new ServerClock()
  #generation = 0
  #ended: ClientError | undefined

  constructor(options: CoreOptions, effects: CoreEffects) {
    this.#options = options
    this.#effects = effects
    this.#link = new Link(options, {
      ...effects,
      lost: (error, final) => {
        if (final) this.#end(error)
        else this.#calls.failSent(error)
        this.#reports.forget()
        effects.lost(error, final)
      },
    })
  }

  /** Of the server connected last. */
  get server(): ServerReady | undefined {
    return this.#link.server
  }

  /** Whether observations can be sent. */
  get ready(): boolean {
    return this.#link.state === 'ready'
  }

  get generation(): number {
    return this.#generation
  }

  /** When `tick` has something to do, on the clock of `now`; Infinity for never. */
  get wakeAt(): number {
    return Math.min(this.#link.wakeAt, this.#calls.expiresAt)
  }

  start(now: number): void {
    this.#link.start(now)
  }

  opened(now: number): void {
    this.#link.opened(now)
  }

  heard(now: number): void {
    this.#link.heard(now)
  }

  /** The connection has ended. `refused`: the server does not want it, now or later. */
  disconnected(detail: string, refused: boolean, now: number): void {
    const code = refused ? 'CONNECTION_REFUSED' : 'CONNECTION_LOST'
    this.#link.lose(new ConnectionError(code, detail), now, refused)
  }

  /** A frame that is no message has come. */
  unreadable(detail: string, now: number): void {
    this.#link.lose(new ConnectionError('FRAME_UNREADABLE', `A frame cannot be read: ${detail}.`), now)
  }

  tick(now: number): void {
    this.#calls.expire(now)
    this.#link.tick(now)
    this.#flush(now)
  }

  message(message: Incoming, now: number): void {
    this.#link.heard(now)
    switch (message.type) {
      case 'ready':
        if (this.#link.state === 'opened') this.clock.forget()
        this.#link.ready(message, this.#generation, now)
        break
      case 'welcome':
        this.#timed(message, now)
        this.#link.welcome(message, now)
        this.measure(now)
        break
      case 'time':
        this.#timed(message, now)
        if (!this.clock.settled) this.measure(now)
        break
      case 'heartbeat':
        this.measure(now)
        break
      case 'error':
        if (message.seq === null && this.#link.refused(message.error, now)) break
        this.#answer(message, { error: new RemoteError(message.error) })
        break
      case 'skipped':
        this.#answer(message, {
          error:
            message.reason === 'expired'
              ? new DeadlineError('The server had no answer before the deadline.')
              : new SkippedError(message.reason),
        })
        break
      default:
        this.#answer(message, sent => this.#chunk(message, sent, now))
    }
    this.#flush(now)
  }

  /** Asks for the server's time; false when it cannot be asked. */
  measure(now: number): boolean {
    if (!this.ready || !this.server?.features?.includes('time')) return false
    this.#effects.send({ type: 'time', sent_at: now })
    return true
  }

  /** A call that takes its turn after those before it; or, `replaceable`, one that the next may replace unsent. */
  call(observed: Observed, replaceable: boolean, settle: (outcome: Outcome) => void, now: number): Call {
    const { deadlineMs } = observed.options
    const { graceMs = 500, timeoutMs = 30_000 } = this.#options
    const limit = deadlineMs !== undefined && Number.isFinite(deadlineMs)
    const expiresAt = limit ? observed.capturedAt + deadlineMs + graceMs : now + timeoutMs
    const call = { ...observed, replaceable, settle, expiresAt }
    if (this.#ended) settle({ error: this.#ended })
    else this.#calls.add(call)
    this.#calls.expire(now)
    this.#flush(now)
    return call
  }

  /** Ends a call with an error; one that has ended stays as it is. */
  cancel(call: Call, error: Error, now: number): void {
    this.#calls.cancel(call, error)
    this.#flush(now)
  }

  /** The next generation: what waits is skipped, the server forgets what it carries over. */
  reset(now: number): void {
    this.#report(now)
    this.#generation += 1
    this.#calls.failAll(new SkippedError('reset'))
    if (this.ready) this.#effects.send({ type: 'reset' })
  }

  /** Lets a robot go on that a guard of the server has stopped; false when the server cannot be told. */
  clearHold(): boolean {
    if (!this.ready || !this.#link.server?.features?.includes('clear')) return false
    this.#effects.send({ type: 'clear' })
    return true
  }

  /** An action was commanded. False when nobody records it. */
  executed(action: Omit<ExecutedAction, 'at'>, now: number): boolean {
    if (!this.#recorded) return false
    if (this.#reports.executed({ ...action, at: now })) this.#report(now)
    return true
  }

  /** False when nobody records it. */
  mark(kind: MarkKind, text: string | undefined, now: number): boolean {
    if (!this.#recorded) return false
    this.#reports.mark(kind, text, now)
    this.#report(now)
    return true
  }

  get #recorded(): boolean {
    return this.ready && this.server?.features?.includes('report') === true
  }

  #report(now: number): void {
    const report = this.#reports.take(now)
    if (report && this.#recorded) this.#effects.send(report)
  }

  close(now: number): void {
    this.#report(now)
    this.#end(new ConnectionError('CONNECTION_CLOSED', 'This client is closed.'))
    this.#link.close(now)
  }

  #end(error: ClientError): void {
    this.#ended ??= error
    this.#calls.failAll(error)
  }

  #answer(
    { seq, generation }: { seq: number | null; generation?: number | undefined },
    outcome: Outcome | ((sent: Sent) => Outcome),
  ): void {
    if (generation !== undefined && generation !== this.#generation) return
    // Servers without `hello` answer null for a message that they refuse before they look for its number.
    if (seq === null && this.server?.features?.includes('hello')) return
    const sent = this.#calls.take(seq)
    sent?.call.settle(typeof outcome === 'function' ? outcome(sent) : outcome)
  }

  #chunk(message: Extract<Incoming, { type: 'actions' }>, sent: Sent, now: number): Outcome {
    const { expectedModel } = this.#options
    if (expectedModel !== undefined && message.model !== expectedModel)
      return { error: new ModelMismatchError(expectedModel, message.model) }
    const chunk: ActionChunk = chunkOf(message, sent, this.server?.session ?? '', this.#generation, now)
    return { chunk }
  }

  #timed(
    { sent_at, received_at, server_time }: { sent_at?: number; received_at: number; server_time: number },
    now: number,
  ): void {
    if (sent_at === undefined) return
    const sample = timeSample(sent_at, received_at, server_time, now)
    this.clock.add(sample)
    this.#effects.timed(sample)
  }

  #flush(now: number): void {
    while (this.ready && this.#effects.hasRoom()) {
      const sent = this.#calls.next(now)
      if (!sent) return
      this.#report(now)
      this.#effects.send(this.#observation(sent))
    }
  }

  /** Once the server's clock is known the stamps are in its time, so that the way there counts as age. */
  #observation({ call, seq, sentAt }: Sent): Outgoing {
    const { numSteps, seed, noise, deadlineMs, rtc } = call.options
    const offset = this.clock.earliestOffsetMs
    const stamps =
      offset === undefined
        ? { captured_at: call.capturedAt, sent_at: sentAt }
        : { captured_at: call.capturedAt + offset }
    return {
      type: 'observation',
      seq,
      observation: call.observation,
      ...stamps,
      ...(deadlineMs !== undefined && { deadline_ms: deadlineMs }),
      options: {
        ...(numSteps !== undefined && { num_steps: numSteps }),
        ...(seed !== undefined && { seed }),
        ...(rtc && { rtc: rtcOf(rtc) }),
        ...(noise && { noise: rowsOf(noise, this.server?.metadata.action_horizon ?? 1) }),
      },
    }
  }
}
