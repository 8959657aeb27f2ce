import type { MarkKind } from '../contract/report.js'
import type { ActionChunk } from './chunk.js'
import type { ServerReady } from './core/core.js'
import type { TimeSample } from './core/server-clock.js'
import { Driver, type DriverOptions, type Wire } from './driver.js'
import { type ClientError, ConnectionError, DeadlineError } from './errors.js'
import type { ClientObservation, Observed, ObserveOptions } from './observation.js'
import { ChunkStream } from './stream.js'

export interface ClientOptions extends DriverOptions {
  /** Milliseconds that `connect` waits for a server that is not up or not ready yet. Default 60 000. */
  waitMs?: number
  /** Ends `connect`. */
  signal?: AbortSignal
}

/** What the server tells of itself when a connection opens. */
export interface PolicyMetadata {
  policy: string
  /** Digest of the policy that acts. */
  model: string
  actionHorizon: number
  actionSize: number
  /** Names the connection, and this run of the server; '' of servers that do not tell. */
  session: string
  instance: string
}

/** What can be listened to. */
export interface ClientEvents {
  /** Connected, or connected anew, or the server has exchanged its policy: observations are to be whole again. */
  ready: PolicyMetadata
  /** What was unanswered has failed with this error; no new attempt follows when it is `final`. */
  lost: { error: ClientError; final: boolean }
  /** A new attempt begins in so many milliseconds. */
  reconnecting: { inMs: number }
}

type Listeners = { [K in keyof ClientEvents]: Set<(event: ClientEvents[K]) => void> }

/**
 * A robot's connection to a Turbo-Pi server. It reconnects by itself, with growing pauses; only a refusal (a wrong key, a
 * server without `WS /stream`, another model than the expected one) is final. Every promise that it gives ends.
 */
export class PolicyClient implements AsyncDisposable {
  readonly #driver: Driver
  readonly #listeners: Listeners = { ready: new Set(), lost: new Set(), reconnecting: new Set() }
  #probes: { resolve(sample: TimeSample): void; reject(error: Error): void }[] = []
  #stream: ChunkStream | undefined

  protected constructor(url: string, wire: Wire, options: ClientOptions) {
    this.#driver = new Driver(url, wire, options, {
      ready: server => {
        this.#emit('ready', metadataOf(server))
      },
      lost: (error, final) => {
        this.#failProbes(error)
        if (final) this.#stream?.fail(error)
        this.#emit('lost', { error, final })
      },
      reconnecting: inMs => this.#emit('reconnecting', { inMs }),
      timed: sample => this.#probes.shift()?.resolve(sample),
    })
  }

  /** Connects in the background. */
  protected start(): void {
    this.#driver.tell((core, now) => core.start(now))
  }

  /** Connects, and waits until the server is ready. */
  protected async open({ waitMs = 60_000, signal }: ClientOptions): Promise<void> {
    signal?.throwIfAborted()
    let end!: (error?: unknown) => void
    const ready = new Promise<void>((resolve, reject) => {
      end = error => (error === undefined ? resolve() : reject(error))
    })
    const stops = [
      this.on('ready', () => end()),
      this.on('lost', ({ error, final }) => final && end(error)),
      timeout(waitMs, () => end(new DeadlineError(`The server was not ready within ${waitMs} ms.`))),
      aborted(signal, end),
    ]
    this.start()
    try {
      await ready
    } catch (error) {
      await this.close()
      throw error
    } finally {
      for (const stop of stops) stop()
    }
  }

  /** Of the server connected last. Throws a ConnectionError before the first. */
  get metadata(): PolicyMetadata {
    const { server } = this.#driver.core
    if (!server) throw new ConnectionError('CONNECTION_LOST', 'No server has been ready yet.')
    return metadataOf(server)
  }

  /** The server's name for the connection; undefined before the first. */
  get session(): string | undefined {
    return this.#driver.core.server?.session
  }

  /** Whether observations can be sent at this moment. */
  get ready(): boolean {
    return this.#driver.core.ready
  }

  /** Counts the resets. */
  get generation(): number {
    return this.#driver.core.generation
  }

  /** What is to be added to performance.now() to have the server's Unix time, and how sure that is; undefined when unknown. */
  get serverClock(): TimeSample | undefined {
    return this.#driver.core.clock.best
  }

  /** Returns how to stop listening. Listeners must not throw. */
  on<K extends keyof ClientEvents>(event: K, listener: (event: ClientEvents[K]) => void): () => void {
    this.#listeners[event].add(listener)
    return () => this.#listeners[event].delete(listener)
  }

  /**
   * One observation, one chunk; calls wait for each other. Fields left out keep their last value. Rejects with a
   * ClientError: RemoteError (what the server says), DeadlineError, SkippedError, ModelMismatchError, ConnectionError
   * when the connection is lost meanwhile; or with the reason of `options.signal`.
   */
  infer(observation: ClientObservation, options: ObserveOptions = {}): Promise<ActionChunk> {
    if (this.#stream)
      return Promise.reject(new Error('Close the stream before calling infer on the same client.'))
    return this.#call(observation, options)
  }

  async #call(observation: ClientObservation, options: ObserveOptions): Promise<ActionChunk> {
    const { signal, capturedAt = performance.now() } = options
    signal?.throwIfAborted()
    const observed: Observed = { observation, options, capturedAt }
    let stop = () => {}
    try {
      return await new Promise((resolve, reject) => {
        const call = this.#driver.tell((core, now) =>
          core.call(
            observed,
            false,
            outcome => ('chunk' in outcome ? resolve(outcome.chunk) : reject(outcome.error)),
            now,
          ),
        )
        stop = aborted(signal, reason => this.#driver.tell((core, now) => core.cancel(call, reason, now)))
      })
    } finally {
      stop()
    }
  }

  /** Observations in at the camera's pace, the freshest chunks out; one stream at a time. */
  stream(): ChunkStream {
    if (this.#stream) throw new Error('This client has a stream already; close it first.')
    const stream = new ChunkStream(
      (observed, settle) => {
        this.#driver.tell((core, now) => core.call(observed, true, settle, now))
      },
      () => {
        this.#stream = undefined
      },
    )
    this.#stream = stream
    return stream
  }

  /** Starts the next generation, for example with an episode: what waits is skipped, no field is carried over. */
  reset(): void {
    this.#driver.tell((core, now) => core.reset(now))
  }

  /**
   * Tells the server's recording that an action was commanded just now: call it in every tick. `chunk` and `row` say which row
   * of which chunk it is from, where it is from one. False when the server records nothing, or is not connected.
   */
  executed(
    action: readonly number[],
    from: { chunk?: Pick<ActionChunk, 'seq'>; row?: number } = {},
  ): boolean {
    const { chunk, row } = from
    const told = {
      action: [...action],
      ...(chunk && { seq: chunk.seq }),
      ...(row !== undefined && { row }),
    }
    return this.#driver.tell((core, now) => core.executed(told, now))
  }

  /** Marks this moment in the server's recording: how an episode ended, where somebody took over. False as for `executed`. */
  mark(kind: MarkKind, text?: string): boolean {
    return this.#driver.tell((core, now) => core.mark(kind, text, now))
  }

  /**
   * Lets this robot go on that a guard of the server has stopped (RemoteError, ROBOT_HELD), once somebody has looked at it.
   * False when there is no connection, or a server that holds no robots.
   */
  clearHold(): boolean {
    return this.#driver.tell(core => core.clearHold())
  }

  /** One exchange of time stamps with the server. Rejects when there is no connection, or a server without `time`. */
  async measureLink(timeoutMs = 1000): Promise<TimeSample> {
    let stop = () => {}
    try {
      return await new Promise((resolve, reject) => {
        const probe = { resolve, reject }
        this.#probes.push(probe)
        stop = timeout(timeoutMs, () => reject(new DeadlineError(`No time came within ${timeoutMs} ms.`)))
        if (!this.#driver.tell((core, now) => core.measure(now))) {
          this.#probes.pop()
          reject(
            new ConnectionError('CONNECTION_LOST', 'There is no connection to a server that tells its time.'),
          )
        }
      })
    } finally {
      stop()
    }
  }

  async close(): Promise<void> {
    this.#stream?.close()
    this.#failProbes(new ConnectionError('CONNECTION_CLOSED', 'This client is closed.'))
    this.#driver.tell((core, now) => core.close(now))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #failProbes(error: Error): void {
    for (const { reject } of this.#probes.splice(0)) reject(error)
  }

  #emit<K extends keyof ClientEvents>(name: K, event: ClientEvents[K]): void {
    for (const listener of [...this.#listeners[name]]) listener(event)
  }
}

function metadataOf({ session, instance, metadata }: ServerReady): PolicyMetadata {
  const { policy, model, action_horizon, action_size } = metadata
  return {
    policy,
    model,
    actionHorizon: action_horizon,
    actionSize: action_size,
    session,
    instance: instance ?? '',
  }
}

/** Calls `then` after so long; returns how to stop that. */
function timeout(ms: number, then: () => void): () => void {
  if (ms === Number.POSITIVE_INFINITY) return () => {}
  const timer = setTimeout(then, ms)
  return () => clearTimeout(timer)
}

/** Calls `then` with the reason when the signal aborts; returns how to stop that. */
function aborted(signal: AbortSignal | undefined, then: (reason: Error) => void): () => void {
  const onAbort = () => then(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  return () => signal?.removeEventListener('abort', onAbort)
}
