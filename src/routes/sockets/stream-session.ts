import type { FastifyBaseLogger } from 'fastify'
import { CALLER_LEFT, Cancellation } from '../../cancellation.js'
import { problemOf } from '../../contract/problem.js'
import type { Wire } from '../../contract/schemas.js'
import {
  encodeActions,
  encodeMessage,
  type ObservationMessage,
  type ServerMessage,
  type SkipReason,
  type StreamReader,
} from '../../contract/stream.js'
import { TurboPiError } from '../../errors.js'
import type { Served, Serving } from '../../service/served.js'
import type { Connection } from './connection.js'

/** An observation without an answer yet. */
interface Pending {
  seq: number
  cancellation: Cancellation
  /** Set when it is answered by `skipped` before its inference ends. */
  skipped?: SkipReason
}

/**
 * One robot on `WS /stream`. Latest wins: of the observations that the engine has not taken up, only the newest
 * is kept; those that it has are answered. An answer never arrives after that of a newer observation.
 */
export class StreamSession {
  readonly #served: Served
  readonly #connection: Connection
  readonly #wire: Wire
  readonly #log: FastifyBaseLogger
  #serving: Serving
  #reader: StreamReader
  /** What the engine has not taken up. */
  #waiting: Pending | undefined
  readonly #pending: Pending[] = []
  #newestSeq = -1
  #answeredSeq = -1
  #chunks = 0

  constructor(served: Served, connection: Connection, wire: Wire, log: FastifyBaseLogger) {
    this.#served = served
    this.#connection = connection
    this.#wire = wire
    this.#log = log
    this.#serving = served.current
    this.#reader = this.#serving.stream.reader(wire)
    connection.gone.addEventListener('abort', () => {
      for (const pending of this.#pending) pending.cancellation.abort(connection.gone.reason)
    })
  }

  /** Tells the client what serves it, now and after every exchange of the policy. */
  open(heartbeatMs: number): void {
    const renew = (serving: Serving) => {
      this.#serving = serving
      // What was carried over belongs to observations of the policy before.
      this.#reader = serving.stream.reader(this.#wire)
      this.#ready(heartbeatMs)
    }
    this.#connection.gone.addEventListener('abort', this.#served.onSwap(renew))
    if (this.#serving === this.#served.current) this.#ready(heartbeatMs)
    else renew(this.#served.current)
  }

  #ready(heartbeatMs: number): void {
    const { policy, shape, model } = this.#serving.service.metadata()
    this.#send({
      type: 'ready',
      session: this.#connection.session,
      metadata: {
        policy,
        model: model ?? '',
        action_horizon: shape.horizon,
        action_size: shape.actionSize,
        heartbeat_ms: heartbeatMs,
      },
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
    let decoded: unknown
    try {
      decoded = this.#reader.decode(frame)
    } catch (error) {
      this.#fail(null, error)
      return this.#connection.close(1007, 'The previous message says what could not be read.')
    }
    let seq: number | null = null
    try {
      const message = this.#reader.message(decoded)
      if (message.type === 'reset') return this.#reset()
      seq = message.seq
      this.#observe(message)
    } catch (error) {
      this.#fail(seq, error)
    }
  }

  #observe(message: ObservationMessage): void {
    const arrived = performance.now()
    const { seq, captured_at: capturedAt, sent_at: sentAt = Date.now(), deadline_ms: deadlineMs } = message
    if (seq <= this.#newestSeq) {
      throw new TurboPiError('OBSERVATION_INVALID', `seq must grow: ${seq} came after ${this.#newestSeq}.`, {
        fields: [{ pointer: '/seq', detail: `must be greater than ${this.#newestSeq}` }],
      })
    }
    const { observation, sampling } = this.#reader.observation(message)
    this.#newestSeq = seq
    const ageOnArrival = capturedAt === undefined ? 0 : Math.max(0, sentAt - capturedAt)
    const pending: Pending = { seq, cancellation: new Cancellation() }
    this.#supersede()
    if (deadlineMs !== undefined && deadlineMs <= ageOnArrival) return this.#skip(pending, 'expired')
    this.#waiting = pending
    this.#pending.push(pending)
    const inference = this.#serving.service.infer(observation, sampling, {
      session: this.#connection.session,
      signal: pending.cancellation,
      deadlineMs: deadlineMs === undefined ? undefined : deadlineMs - ageOnArrival,
      acceptsLate: true,
      replaceable: true,
      onStart: () => {
        if (this.#waiting === pending) this.#waiting = undefined
      },
    })
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
            chunk_id: this.#chunks++,
            obs_age_ms: ageOnArrival + performance.now() - arrived,
            valid_until: validUntil,
          }
          this.#connection.send(encodeActions(envelope, answer, this.#wire))
        })
        .catch(error => {
          if (pending.skipped || this.#connection.gone.aborted) return
          if (error instanceof TurboPiError && error.code === 'DEADLINE_EXCEEDED')
            this.#skip(pending, 'expired')
          else this.#fail(seq, error)
        })
        .finally(() => {
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

  #skip(pending: Pending, reason: SkipReason): void {
    pending.skipped = reason
    pending.cancellation.abort(CALLER_LEFT)
    if (reason === 'superseded') this.#serving.service.superseded(this.#connection.session)
    this.#send({ type: 'skipped', seq: pending.seq, reason })
  }

  #reset(): void {
    this.#reader.reset()
    for (const pending of this.#pending) {
      if (!pending.skipped) this.#skip(pending, 'reset')
    }
    this.#waiting = undefined
    this.#newestSeq = -1
    this.#answeredSeq = -1
  }

  #fail(seq: number | null, error: unknown): void {
    const problem = problemOf(error)
    if (problem.status >= 500) this.#log.error({ err: error }, problem.title)
    this.#send({ type: 'error', seq, error: problem })
  }
}
