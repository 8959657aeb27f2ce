import type { FastifyBaseLogger } from 'fastify'
import { CALLER_LEFT, Cancellation } from '../../cancellation.js'
import { problemOf } from '../../contract/problem.js'
import type { Wire } from '../../contract/schemas.js'
import { encodeActions, encodeMessage, type StreamReader } from '../../contract/stream.js'
import {
  type ObservationMessage,
  type ServerMessage,
  type SkipReason,
  STREAM_FEATURES,
} from '../../contract/stream-messages.js'
import { TurboPiError } from '../../errors.js'
import type { RequestTrace } from '../../service/request-trace.js'
import type { Served, Serving } from '../../service/served.js'
import type { Refusals } from '../refusals.js'
import type { RequestMemory, Share } from '../request-memory.js'
import type { Robots } from '../robots.js'
import { clearHold } from './clear.js'
import type { Connection } from './connection.js'
import { Greeting } from './greeting.js'
import { ageOnArrival } from './observation-age.js'
import { RecentChunks } from './recent-chunks.js'
import { report } from './report.js'

/** Milliseconds after its deadline that an observation may still be answered late; then it is skipped. */
const LATE_MARGIN_MS = 250

/** An observation without an answer yet. */
interface Pending {
  seq: number
  cancellation: Cancellation
  /** Set when it is answered by `skipped` before its inference ends. */
  skipped?: SkipReason
}

/** What all sessions of a server share. */
export interface StreamSettings {
  /** Names this run of the server. */
  instance: string
  robots: Robots
  refusals: Refusals
  heartbeatMs: number
  /** Milliseconds that a stamp may lie in the future. */
  clockToleranceMs: number
  /** Memory of fields that are carried over. */
  carried: RequestMemory
}

/**
 * One robot on `WS /stream`. Latest wins: of the observations that the engine has not taken up, only the newest
 * is kept; those that it has are answered. An answer never arrives after that of a newer observation, nor after a
 * reset that followed its own.
 */
export class StreamSession {
  readonly #served: Served
  readonly #connection: Connection
  readonly #wire: Wire
  readonly #log: FastifyBaseLogger
  readonly #settings: StreamSettings
  readonly #greeting: Greeting
  #serving: Serving
  #reader: StreamReader
  /** What the engine has not taken up. */
  #waiting: Pending | undefined
  readonly #pending: Pending[] = []
  #newestSeq = -1
  #answeredSeq = -1
  #chunks = 0
  readonly #recent = new RecentChunks()
  readonly #carried: Share

  constructor(
    served: Served,
    connection: Connection,
    wire: Wire,
    log: FastifyBaseLogger,
    settings: StreamSettings,
  ) {
    this.#served = served
    this.#connection = connection
    this.#wire = wire
    this.#log = log
    this.#settings = settings
    this.#greeting = new Greeting(connection, settings.robots, message => this.#send(message))
    this.#serving = served.current
    this.#reader = this.#serving.stream.reader(wire)
    this.#carried = settings.carried.share(() => this.#reader.forget())
    connection.gone.addEventListener('abort', () => {
      this.#carried.end()
      for (const pending of this.#pending) pending.cancellation.abort(connection.gone.reason)
    })
  }

  /** Tells the client what serves it, now and after every exchange of the policy. */
  open(): void {
    const renew = (serving: Serving) => {
      this.#serving = serving
      // What was carried over, and what was served, belongs to the policy before.
      this.#reader = serving.stream.reader(this.#wire)
      this.#recent.clear()
      this.#ready()
    }
    this.#connection.gone.addEventListener('abort', this.#served.onSwap(renew))
    if (this.#serving === this.#served.current) this.#ready()
    else renew(this.#served.current)
  }

  #ready(): void {
    const { service } = this.#serving
    const { policy, shape, model } = service.metadata()
    this.#send({
      type: 'ready',
      session: this.#connection.session,
      metadata: {
        policy,
        model: model ?? '',
        action_horizon: shape.horizon,
        action_size: shape.actionSize,
        heartbeat_ms: this.#settings.heartbeatMs,
      },
      instance: this.#settings.instance,
      server_time: Date.now(),
      features: STREAM_FEATURES.filter(name => name !== 'report' || service.events.hears('reported')),
    })
  }

  #send(message: ServerMessage): void {
    this.#connection.send(encodeMessage(message, this.#wire))
  }

  /** One frame of the client. Errors are answered; a frame that cannot be read ends the connection. */
  receive(frame: Buffer, isBinary: boolean): void {
    if (isBinary !== (this.#wire === 'msgpack')) {
      const expected = this.#wire === 'json' ? 'text frames' : 'binary frames'
      return this.#connection.close(1003, `This subprotocol takes ${expected}.`)
    }
    const receivedAt = Date.now()
    const began = performance.now()
    let decoded: unknown
    try {
      decoded = this.#reader.decode(frame)
    } catch (error) {
      this.#refuse(null, error)
      return this.#connection.close(1007, 'The previous message says what could not be read.')
    }
    // Before all checks: whoever waits for this number is to hear of them.
    const seq = this.#reader.seqOf(decoded)
    try {
      const message = this.#reader.message(decoded)
      switch (message.type) {
        case 'observation':
          return this.#observe(message, began)
        case 'reset':
          return this.#reset()
        case 'clear':
          return clearHold(this.#connection, this.#serving.service, this.#log)
        case 'report':
          return report(message, this.#connection, this.#serving.service)
        case 'time':
          return this.#greeting.time(message, receivedAt)
        case 'hello':
          if (this.#newestSeq >= 0)
            throw new TurboPiError('BODY_MALFORMED', 'hello comes before observations.')
          this.#greeting.hello(message, receivedAt, this.#serving.service.metadata().model ?? undefined)
      }
    } catch (error) {
      this.#refuse(seq, error)
      if (this.#greeting.refused) this.#connection.close(1008, 'The previous message says why.')
    }
  }

  #observe(message: ObservationMessage, began: number): void {
    const arrived = performance.now()
    this.#connection.key?.take()
    const { seq, captured_at: capturedAt, deadline_ms: deadlineMs } = message
    if (seq <= this.#newestSeq) {
      throw new TurboPiError('OBSERVATION_INVALID', `seq must grow: ${seq} came after ${this.#newestSeq}.`, {
        fields: [{ pointer: '/seq', detail: `must be greater than ${this.#newestSeq}` }],
      })
    }
    const age = ageOnArrival(message, Date.now(), this.#settings.clockToleranceMs)
    const { observation, sampling: asked, carried } = this.#reader.observation(message)
    this.#carried.set(this.#reader.carriedBytes)
    const sampling = this.#recent.found(asked)
    this.#newestSeq = seq
    const pending: Pending = { seq, cancellation: new Cancellation() }
    // It is of no use itself, and takes no place from what is.
    if (deadlineMs !== undefined && deadlineMs <= age) return this.#skip(pending, 'expired')
    const finished = this.#connection.key?.begin()
    this.#supersede()
    this.#waiting = pending
    this.#pending.push(pending)
    const serving = this.#serving
    const trace: RequestTrace = { ...this.#connection.trace, receivedAt: began }
    const inference = serving.service.infer(observation, sampling, {
      session: this.#connection.caller,
      robot: this.#connection.robot?.name,
      seq,
      trace,
      signal: pending.cancellation,
      deadlineMs: deadlineMs === undefined ? undefined : deadlineMs - age,
      acceptsLate: true,
      replaceable: true,
      onStart: () => {
        carried.proven()
        if (this.#waiting === pending) this.#waiting = undefined
      },
    })
    const givenUp =
      deadlineMs === undefined
        ? undefined
        : setTimeout(() => this.#giveUp(pending), deadlineMs - age + LATE_MARGIN_MS)
    const validUntil = capturedAt === undefined || deadlineMs === undefined ? null : capturedAt + deadlineMs
    this.#connection.track(
      inference
        .then(answer => {
          if (pending.skipped) return
          // A shared inference may overtake an older one.
          if (seq < this.#answeredSeq) return this.#skip(pending, 'superseded')
          this.#answeredSeq = seq
          const envelope = {
            seq,
            ...this.#greeting.stamp,
            chunk_id: this.#chunks++,
            obs_age_ms: age + performance.now() - arrived,
            valid_until: validUntil,
            deadline_ms: deadlineMs,
          }
          this.#connection.robot?.answered(this.#served.name, envelope.obs_age_ms, answer)
          if (serving === this.#serving) this.#recent.keep(envelope.chunk_id, answer.served)
          this.#connection.send(encodeActions(envelope, answer, this.#wire))
          trace.chunkId = envelope.chunk_id
          trace.sentAt = performance.now()
        })
        .catch(error => {
          if (error instanceof TurboPiError && error.code.startsWith('IMAGE_')) carried.refused()
          if (pending.skipped || this.#connection.gone.aborted) return
          if (error instanceof TurboPiError && error.code === 'DEADLINE_EXCEEDED')
            this.#skip(pending, 'expired')
          else this.#fail(seq, error)
        })
        .finally(() => {
          finished?.()
          clearTimeout(givenUp)
          this.#pending.splice(this.#pending.indexOf(pending), 1)
          if (this.#waiting === pending) this.#waiting = undefined
        }),
    )
  }

  /** A newer observation takes the place of the one that waits. */
  #supersede(): void {
    if (this.#waiting) this.#skip(this.#waiting, 'superseded')
    this.#waiting = undefined
  }

  /** Its deadline is long past, and the engine is still at it. */
  #giveUp(pending: Pending): void {
    if (!pending.skipped && !this.#connection.gone.aborted) this.#skip(pending, 'expired')
  }

  #skip(pending: Pending, reason: SkipReason): void {
    pending.skipped = reason
    pending.cancellation.abort(CALLER_LEFT)
    const { caller, robot } = this.#connection
    robot?.skipped(this.#served.name, reason)
    if (reason === 'superseded') this.#serving.service.superseded(caller, robot?.name)
    this.#send({ type: 'skipped', seq: pending.seq, ...this.#greeting.stamp, reason })
  }

  #reset(): void {
    this.#reader.reset()
    this.#carried.set(0)
    this.#recent.clear()
    const { caller, robot } = this.#connection
    this.#serving.service.startOver(caller, robot?.name)
    for (const pending of this.#pending) {
      if (!pending.skipped) this.#skip(pending, 'reset')
    }
    this.#greeting.next()
    this.#waiting = undefined
    this.#newestSeq = -1
    this.#answeredSeq = -1
  }

  /** The service was not asked: it does not count the error. */
  #refuse(seq: number | null, error: unknown): void {
    this.#served.metrics.refused(problemOf(error).code)
    this.#fail(seq, error)
  }

  #fail(seq: number | null, error: unknown): void {
    const problem = problemOf(error)
    const { robot, key, session } = this.#connection
    robot?.failed(this.#served.name, problem.code)
    if (problem.status >= 500) this.#log.error({ err: error, session, robot: robot?.name }, problem.title)
    else this.#settings.refusals.log(this.#log, problem, { robot, key, session, seq })
    this.#send({ type: 'error', seq, ...this.#greeting.stamp, error: problem })
  }
}
