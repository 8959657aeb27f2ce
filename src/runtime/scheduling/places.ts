import type { Ticket } from './ticket.js'

/** The bounded places of the queue. A ticket holds one from its admission until the engine takes it up or it leaves. */
export class Places {
  /** In the order of admission. */
  readonly #tickets: Ticket[] = []

  constructor(readonly limit: number) {}

  get size(): number {
    return this.#tickets.length
  }

  get full(): boolean {
    return this.size >= this.limit
  }

  add(ticket: Ticket): void {
    this.#tickets.push(ticket)
  }

  /** False when it holds none. */
  remove(ticket: Ticket): boolean {
    const at = this.#tickets.indexOf(ticket)
    if (at < 0) return false
    this.#tickets.splice(at, 1)
    return true
  }

  all(): Ticket[] {
    return [...this.#tickets]
  }

  /** Those whose deadline has passed. */
  expired(now: number): Ticket[] {
    return this.#tickets.filter(ticket => ticket.expiredAt(now))
  }

  /** Who gives way to one more of `session`: the newest of the session that holds most, if that holds more than this would. */
  givesWayTo(session: string): Ticket | undefined {
    const held = new Map<string, number>()
    for (const ticket of this.#tickets) held.set(ticket.session, (held.get(ticket.session) ?? 0) + 1)
    let longest = session
    let most = (held.get(session) ?? 0) + 1
    for (const [other, count] of held) {
      if (count > most) [longest, most] = [other, count]
    }
    return longest === session ? undefined : this.#tickets.findLast(ticket => ticket.session === longest)
  }
}
