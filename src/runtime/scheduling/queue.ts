import type { InferenceJob } from './job.js'

interface Session<T> {
  readonly name: string
  /** The round in which this session is next served. */
  round: number
  waiting: T[]
}

/** A job that waits since `submitted`, in performance.now() milliseconds. */
interface Waiting {
  job: InferenceJob
  submitted: number
}

const deadlineOf = (entry: Waiting) => entry.job.deadline ?? Number.POSITIVE_INFINITY

/**
 * Whether `a` goes before `b`: the earlier deadline does, then the replaceable, of which the freshest, then what has waited
 * longest. The replaceable go before the rest because only sessions that stay have them: callers that come anew for each
 * request would join every round before its end.
 */
function precedes(a: Waiting, b: Waiting): boolean {
  const [first, second] = [deadlineOf(a), deadlineOf(b)]
  if (first !== second) return first < second
  const replaceable = a.job.replaceable ?? false
  if (replaceable !== (b.job.replaceable ?? false)) return replaceable
  return replaceable ? a.submitted > b.submitted : a.submitted < b.submitted
}

/**
 * The waiting room of the dispatcher: fair between sessions, earliest deadline first within that.
 *
 * Start-time fair queueing with jobs of equal weight. Service goes in rounds, and a session is served once a round:
 * the session of the lowest round is next; between sessions of one round, and between the jobs of one session, the
 * earliest deadline is, then as `precedes` tells. A session that comes back joins the round in progress, so idling
 * earns no credit and a flood delays its own session alone. A job that is removed unserved costs its session
 * nothing: a robot that replaces its observation keeps its turn.
 */
export class FairQueue<T extends Waiting> {
  // A list, not a map: what a map has grown out of would be left to full collections, with the frames of its jobs.
  readonly #sessions: Session<T>[] = []
  #round = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Jobs of one session that wait. */
  waitingOf(session: string): number {
    return this.#session(session)?.waiting.length ?? 0
  }

  push(entry: T): void {
    const name = entry.job.session
    let session = this.#session(name)
    if (!session) {
      this.#forget()
      session = { name, round: this.#round, waiting: [] }
      this.#sessions.push(session)
    }
    session.round = Math.max(session.round, this.#round)
    session.waiting.push(entry)
    this.#size += 1
  }

  /** Removes and returns the next job that `fits`. */
  take(fits: (job: InferenceJob) => boolean = () => true): T | undefined {
    let next: T | undefined
    let from: Session<T> | undefined
    for (const session of this.#sessions) {
      for (const entry of session.waiting) {
        if (!fits(entry.job)) continue
        if (next && from) {
          if (session.round > from.round) continue
          if (session.round === from.round && !precedes(entry, next)) continue
        }
        next = entry
        from = session
      }
    }
    if (!next || !from) return undefined
    this.#round = Math.max(this.#round, from.round)
    from.round += 1
    this.#drop(from, next)
    return next
  }

  /** Removes a job that waits; false when it no longer does. */
  remove(entry: T): boolean {
    const session = this.#session(entry.job.session)
    if (!session?.waiting.includes(entry)) return false
    this.#drop(session, entry)
    return true
  }

  /** Removes and returns every job whose deadline has passed. */
  takeExpired(now: number): T[] {
    return this.#takeAll(entry => deadlineOf(entry) <= now)
  }

  /** Removes and returns every job. */
  takeAll(): T[] {
    return this.#takeAll(() => true)
  }

  /** Removes and returns the newest job of the session that has most of them waiting, if it has more than `limit`. */
  takeFromLongest(limit: number): T | undefined {
    let longest: Session<T> | undefined
    for (const session of this.#sessions) {
      if (!longest || session.waiting.length > longest.waiting.length) longest = session
    }
    const newest = longest?.waiting.at(-1)
    if (!longest || !newest || longest.waiting.length <= limit) return undefined
    this.#drop(longest, newest)
    return newest
  }

  #takeAll(leaves: (entry: T) => boolean): T[] {
    const taken: T[] = []
    for (const session of this.#sessions) {
      for (const entry of session.waiting.filter(leaves)) {
        this.#drop(session, entry)
        taken.push(entry)
      }
    }
    return taken
  }

  #session(name: string): Session<T> | undefined {
    return this.#sessions.find(session => session.name === name)
  }

  #drop(session: Session<T>, entry: T): void {
    session.waiting.splice(session.waiting.indexOf(entry), 1)
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
