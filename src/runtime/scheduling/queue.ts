import type { Ticket } from './ticket.js'

interface Session {
  readonly name: string
  /** The round in which this session is next served. */
  round: number
  waiting: Ticket[]
}

export const deadlineOf = (ticket: Ticket) => ticket.deadline ?? Number.POSITIVE_INFINITY

/**
 * Whether `a` goes before `b`: the earlier deadline does, then the replaceable, of which the freshest, then what has waited
 * longest. The replaceable go before the rest because only sessions that stay have them: callers that come anew for each
 * request would join every round before its end.
 */
function precedes(a: Ticket, b: Ticket): boolean {
  const [first, second] = [deadlineOf(a), deadlineOf(b)]
  if (first !== second) return first < second
  if (a.replaceable !== b.replaceable) return a.replaceable
  return a.replaceable ? a.admitted > b.admitted : a.admitted < b.admitted
}

/**
 * A waiting line of the dispatcher: fair between sessions, earliest deadline first within that.
 *
 * Start-time fair queueing. Service goes in rounds, and a session is served once a round, with a job of more weight once in
 * so many rounds: the session of the lowest round is next; between sessions of one round, and between the jobs of one session, the
 * earliest deadline is, then as `precedes` tells. A session that comes back joins the round in progress, so idling
 * earns no credit and a flood delays its own session alone. A job that is removed unserved costs its session
 * nothing: a robot that replaces its observation keeps its turn.
 */
export class FairQueue {
  // A list, not a map: what a map has grown out of would be left to full collections, with the frames of its jobs.
  readonly #sessions: Session[] = []
  readonly #weightOf: (ticket: Ticket) => number
  #round = 0
  #size = 0

  constructor(weightOf: (ticket: Ticket) => number = () => 1) {
    this.#weightOf = weightOf
  }

  get size(): number {
    return this.#size
  }

  push(ticket: Ticket): void {
    let session = this.#session(ticket.session)
    if (!session) {
      this.#forget()
      session = { name: ticket.session, round: this.#round, waiting: [] }
      this.#sessions.push(session)
    }
    session.round = Math.max(session.round, this.#round)
    session.waiting.push(ticket)
    this.#size += 1
  }

  /** Of all tickets that `fits`, in no order; Infinity without a deadline. */
  deadlines(fits: (ticket: Ticket) => boolean): number[] {
    const deadlines: number[] = []
    for (const { waiting } of this.#sessions)
      for (const ticket of waiting) if (fits(ticket)) deadlines.push(deadlineOf(ticket))
    return deadlines
  }

  /** The next ticket, which stays. */
  get next(): Ticket | undefined {
    return this.#find(() => true)?.next
  }

  /** Removes and returns the next ticket that `fits`, if it is `wanted`. */
  take(
    fits: (ticket: Ticket) => boolean = () => true,
    wanted: (ticket: Ticket) => boolean = () => true,
  ): Ticket | undefined {
    const found = this.#find(fits)
    if (!found || !wanted(found.next)) return undefined
    const { next, from } = found
    this.#round = Math.max(this.#round, from.round)
    from.round += this.#weightOf(next)
    this.#drop(from, next)
    return next
  }

  #find(fits: (ticket: Ticket) => boolean): { next: Ticket; from: Session } | undefined {
    let next: Ticket | undefined
    let from: Session | undefined
    for (const session of this.#sessions) {
      for (const ticket of session.waiting) {
        if (!fits(ticket)) continue
        if (next && from) {
          if (session.round > from.round) continue
          if (session.round === from.round && !precedes(ticket, next)) continue
        }
        next = ticket
        from = session
      }
    }
    return next && from && { next, from }
  }

  /** Does nothing when it does not wait here. */
  remove(ticket: Ticket): void {
    const session = this.#session(ticket.session)
    if (session?.waiting.includes(ticket)) this.#drop(session, ticket)
  }

  #session(name: string): Session | undefined {
    return this.#sessions.find(session => session.name === name)
  }

  #drop(session: Session, ticket: Ticket): void {
    session.waiting.splice(session.waiting.indexOf(ticket), 1)
    this.#size -= 1
  }

  /** Sessions that have gone are forgotten once the round they were served in has passed. */
  #forget(): void {
    let kept = 0
    for (const session of this.#sessions) {
      if (session.waiting.length > 0 || session.round > this.#round) this.#sessions[kept++] = session
    }
    this.#sessions.length = kept
  }
}
