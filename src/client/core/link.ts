import { type ClientError, ConnectionError, ModelMismatchError, RemoteError } from '../errors.js'
import type { Incoming, Outgoing, Problem } from './messages.js'

type Ready = Extract<Incoming, { type: 'ready' }>
type Welcome = Extract<Incoming, { type: 'welcome' }>

export interface LinkOptions {
  /** Name of the robot, for the server's fairness, metrics and log. */
  robot?: string | undefined
  /** Fingerprint; another model is refused. */
  expectedModel?: string | undefined
  /** Milliseconds that opening a connection may take. Default 10 000. */
  connectTimeoutMs?: number | undefined
  /** Milliseconds that an open connection may take to its `ready`. Default 40 000. */
  readyTimeoutMs?: number | undefined
  /** First and longest pause before a new attempt, in milliseconds; each pause is twice the last, ± 20 %. */
  backoffMs?: readonly [first: number, longest: number] | undefined
  /** Whether the transport hears the server's pings; browsers do not. */
  hearsPings: boolean
  /** 0 to 1, as Math.random. */
  random: () => number
}

export interface LinkEffects {
  /** Opens a connection. */
  connect(): void
  /** Forgets the connection: nothing that still comes over it counts. */
  drop(code: number, reason: string): void
  send(message: Outgoing): void
  ready(message: Ready): void
  /** What is unanswered will not be answered. A new attempt follows, unless `final` is set. */
  lost(error: ClientError, final: boolean): void
  reconnecting(inMs: number): void
}

type State = 'idle' | 'connecting' | 'opened' | 'greeting' | 'ready' | 'pausing' | 'ended'

const FOREVER = Number.POSITIVE_INFINITY

/** The life of a connection that comes back by itself: opened, greeted, listened to, lost, opened again. */
export class Link {
  readonly #options: LinkOptions
  readonly #effects: LinkEffects
  #state: State = 'idle'
  /** When the state began; of `ready`: when the server was last heard. */
  #since = 0
  /** When the state ends by itself. */
  #limitMs = FOREVER
  #pauseMs: number
  #ready: Ready | undefined
  #silenceMs = FOREVER

  constructor(options: LinkOptions, effects: LinkEffects) {
    this.#options = options
    this.#effects = effects
    this.#pauseMs = this.#backoff[0]
  }

  get state(): State {
    return this.#state
  }

  /** Of the server connected last. */
  get server(): Ready | undefined {
    return this.#ready
  }

  get #backoff(): readonly [first: number, longest: number] {
    return this.#options.backoffMs ?? [250, 5000]
  }

  start(now: number): void {
    this.#enter('connecting', this.#options.connectTimeoutMs ?? 10_000, now)
    this.#effects.connect()
  }

  opened(now: number): void {
    if (this.#state === 'connecting') this.#enter('opened', this.#options.readyTimeoutMs ?? 40_000, now)
  }

  /**
   * Anything at all has come from the server. Until the link is ready that is not enough: pings of a server whose `welcome`
   * has been lost would keep it waiting for good.
   */
  heard(now: number): void {
    if (this.#state === 'ready') this.#since = now
  }

  /** The server is ready; or, on a connection that is ready, has exchanged its policy. */
  ready(message: Ready, generation: number, now: number): void {
    const { expectedModel, robot, hearsPings } = this.#options
    const { model, heartbeat_ms: heartbeatMs } = message.metadata
    this.#ready = message
    if (expectedModel !== undefined && expectedModel !== model)
      return this.lose(new ModelMismatchError(expectedModel, model), now, true)
    if (this.#state === 'ready') return this.#effects.ready(message)
    if (this.#state !== 'opened') return
    const greets = has(message, 'hello')
    this.#silenceMs = hearsPings || (greets && has(message, 'heartbeat')) ? 2 * heartbeatMs : FOREVER
    if (!greets) return this.#establish(now)
    this.#enter('greeting', this.#silenceMs, now)
    this.#effects.send({
      type: 'hello',
      ...(robot !== undefined && { robot }),
      ...(expectedModel !== undefined && { expected_model: expectedModel }),
      generation,
      sent_at: now,
    })
  }

  welcome(_message: Welcome, now: number): void {
    if (this.#state === 'greeting') this.#establish(now)
  }

  #establish(now: number): void {
    this.#pauseMs = this.#backoff[0]
    this.#enter('ready', this.#silenceMs, now)
    this.#effects.ready(this.#ready as Ready)
  }

  /** The server refuses the greeting; false when it was not asked for one. */
  refused(problem: Problem, now: number): boolean {
    if (this.#state !== 'greeting') return false
    this.lose(new RemoteError(problem), now, problem.status < 500)
    return true
  }

  /** The connection is gone, or is of no use any more. */
  lose(error: ClientError, now: number, final = false): void {
    if (this.#state === 'ended' || this.#state === 'pausing') return
    this.#effects.drop(final ? 1000 : 1002, error.code)
    if (final) {
      this.#enter('ended', FOREVER, now)
      return this.#effects.lost(error, true)
    }
    const pauseMs = this.#pauseMs * (0.8 + 0.4 * this.#options.random())
    this.#pauseMs = Math.min(this.#backoff[1], this.#pauseMs * 2)
    this.#enter('pausing', pauseMs, now)
    this.#effects.lost(error, false)
    this.#effects.reconnecting(pauseMs)
  }

  close(now: number): void {
    if (this.#state === 'ended') return
    this.#enter('ended', FOREVER, now)
    this.#effects.drop(1000, '')
  }

  /** When `tick` has something to do. */
  get wakeAt(): number {
    return this.#since + this.#limitMs
  }

  tick(now: number): void {
    if (now < this.wakeAt) return
    if (this.#state === 'pausing') this.start(now)
    else if (this.#state === 'connecting') this.lose(lost(`No connection within ${this.#limitMs} ms.`), now)
    else if (this.#state === 'ready')
      this.lose(lost(`Nothing was heard from the server for ${this.#limitMs} ms.`), now)
    else this.lose(lost(`The connection was open, but not ready within ${this.#limitMs} ms.`), now)
  }

  #enter(state: State, limitMs: number, now: number): void {
    this.#state = state
    this.#since = now
    this.#limitMs = limitMs
  }
}

const has = (ready: Ready, feature: string): boolean => ready.features?.includes(feature) ?? false

const lost = (detail: string) => new ConnectionError('CONNECTION_LOST', detail)
