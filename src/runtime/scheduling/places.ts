import type { Ticket } from './ticket.js'

export interface PlaceLimits {
  /** Places that all share. */
  shared: number
  /** Sessions whose replaceable ticket has a place of its own. */
  own: number
}

/**
 * The bounded places of the queue. A ticket holds one from its admission until the engine takes it up or it leaves. A session that
 * replaces what it waits with can hold but one that way, so it has that place for itself, whoever else waits; all other
 * tickets share the rest.
 */
export class Places {
  /** In the order of admission. */
  readonly #shared: Ticket[] = []
  readonly #own: Ticket[] = []

  constructor(readonly limits: PlaceLimits) {}

  get size(): number {
    return this.#shared.length + this.#own.length
  }

  /** Whether there is one for a ticket that is to come. */
  hasFor(ticket: Pick<Ticket, 'session' | 'replaceable'>): boolean {
    return this.#shared.length < this.limits.shared || this.#mayOwn(ticket)
  }

  add(ticket: Ticket): void {
    const places = this.#mayOwn(ticket) ? this.#own : this.#shared
    places.push(ticket)
  }

  /** False when it holds none. */
  remove(ticket: Ticket): boolean {
    return takeOut(ticket, this.#own) || takeOut(ticket, this.#shared)
  }

  all(): Ticket[] {
    return [...this.#shared, ...this.#own]
  }

  /** Those whose deadline has passed. */
  expired(now: number): Ticket[] {
    return this.all().filter(ticket => ticket.expiredAt(now))
  }

  /**
   * Who gives way to one more of `session`: the newest of the session that holds most of the shared places, if that holds more
   * than this would.
   */
  givesWayTo(session: string): Ticket | undefined {
    const held = new Map<string, number>()
    for (const ticket of this.#shared) held.set(ticket.session, (held.get(ticket.session) ?? 0) + 1)
    let longest = session
    let most = (held.get(session) ?? 0) + 1
    for (const [other, count] of held) {
      if (count > most) [longest, most] = [other, count]
    }
    return longest === session ? undefined : this.#shared.findLast(ticket => ticket.session === longest)
  }

  #mayOwn({ session, replaceable }: Pick<Ticket, 'session' | 'replaceable'>): boolean {
    return (
      replaceable &&
      this.#own.length < this.limits.own &&
      !this.#own.some(ticket => ticket.session === session)
    )
  }
}

function takeOut(ticket: Ticket, places: Ticket[]): boolean {
  const at = places.indexOf(ticket)
  if (at < 0) return false
  places.splice(at, 1)
  return true
}
