import type { ActionChunk } from '../chunk.js'
import { type ClientError, DeadlineError, SkippedError } from '../errors.js'
import type { Observed } from '../observation.js'

export type Outcome = { chunk: ActionChunk } | { error: Error }

/** An observation that waits for its answer. */
export interface Call extends Observed {
  /** On the clock of `capturedAt`: when it ends without an answer. */
  readonly expiresAt: number
  /** Called once. */
  readonly settle: (outcome: Outcome) => void
  /** Latest wins: it may be replaced before it is sent. Other calls take their turn, one at a time. */
  readonly replaceable: boolean
}

/** A call on its way. */
export interface Sent {
  readonly call: Call
  readonly seq: number
  readonly sentAt: number
}

/**
 * Observations that may be unanswered: one in the engine, one waiting for it, one on the wire. The one on the wire makes
 * the server skip the waiting one, so a healthy connection always has room; one that lags does not fill up with
 * frames that will be stale when they arrive.
 */
export const MAX_UNANSWERED = 3

/** The calls of a client: those that wait to be sent, and those that wait for the server. Each is settled exactly once. */
export class Calls {
  #turns: Call[] = []
  #held: Call | undefined
  readonly #sent = new Map<number, Sent>()
  #seq = 0

  /** Takes its turn; or, replaceable, the place of the one that is held. */
  add(call: Call): void {
    if (!call.replaceable) {
      this.#turns.push(call)
      return
    }
    const replaced = this.#held
    this.#held = call
    replaced?.settle({ error: new SkippedError('superseded') })
  }

  /** The next call that may be sent, with the number that it is sent under. */
  next(now: number): Sent | undefined {
    const call = this.#nextCall()
    if (!call) return undefined
    if (call.replaceable) this.#held = undefined
    else this.#turns.shift()
    const sent = { call, seq: this.#seq++, sentAt: now }
    this.#sent.set(sent.seq, sent)
    return sent
  }

  #nextCall(): Call | undefined {
    const inTurn = [...this.#sent.values()].some(({ call }) => !call.replaceable)
    if (this.#turns[0] && !inTurn) return this.#turns[0]
    return this.#sent.size < MAX_UNANSWERED ? this.#held : undefined
  }

  /** Takes out the call that an answer belongs to; an answer without a number belongs to the oldest. */
  take(seq: number | null): Sent | undefined {
    const sent = this.#sent.get(seq ?? this.#sent.keys().next().value ?? -1)
    if (sent) this.#sent.delete(sent.seq)
    return sent
  }

  /** Ends one call. */
  cancel(call: Call, error: Error): void {
    if (this.#remove(other => other === call).length > 0) call.settle({ error })
  }

  /** Ends what the server owes an answer. */
  failSent(error: ClientError): void {
    const sent = [...this.#sent.values()]
    this.#sent.clear()
    for (const { call } of sent) call.settle({ error })
  }

  /** Ends everything. */
  failAll(error: ClientError): void {
    for (const call of this.#remove(() => true)) call.settle({ error })
  }

  /** Ends what has waited too long. */
  expire(now: number): void {
    for (const call of this.#remove(({ expiresAt }) => expiresAt <= now))
      call.settle({ error: new DeadlineError('No answer came before the deadline.') })
  }

  /** When the next call expires. */
  get expiresAt(): number {
    return Math.min(...this.#all().map(call => call.expiresAt))
  }

  #all(): Call[] {
    const sent = Array.from(this.#sent.values(), ({ call }) => call)
    return [...sent, ...this.#turns, ...(this.#held ? [this.#held] : [])]
  }

  #remove(leaves: (call: Call) => boolean): Call[] {
    const gone = this.#all().filter(leaves)
    this.#turns = this.#turns.filter(call => !leaves(call))
    if (this.#held && leaves(this.#held)) this.#held = undefined
    for (const { seq, call } of [...this.#sent.values()]) if (leaves(call)) this.#sent.delete(seq)
    return gone
  }
}
