import { sameBatch } from '../../families/pi0/sampling.js'
import { FairQueue } from './queue.js'
import type { Ticket } from './ticket.js'

/** Who waits for an engine: first those that another one has failed, then all others in FairQueue's order. */
export class Line {
  readonly #again: Ticket[] = []
  readonly #ready = new FairQueue()

  get size(): number {
    return this.#again.length + this.#ready.size
  }

  get next(): Ticket | undefined {
    return this.#again[0] ?? this.#ready.next
  }

  push(ticket: Ticket): void {
    if (ticket.failedOn) this.#again.push(ticket)
    else this.#ready.push(ticket)
  }

  /** Does nothing when it does not wait here. */
  remove(ticket: Ticket): void {
    this.#ready.remove(ticket)
    const at = this.#again.indexOf(ticket)
    if (at >= 0) this.#again.splice(at, 1)
  }

  /** Takes out the next one, and those that may share its batch. */
  takeBatch(most: number): Ticket[] {
    const tickets: Ticket[] = []
    const fits = ({ sampling }: Ticket) => !tickets[0] || sameBatch(sampling, tickets[0].sampling)
    while (tickets.length < most) {
      const at = this.#again.findIndex(fits)
      const next = at >= 0 ? this.#again.splice(at, 1)[0] : this.#ready.take(fits)
      if (!next) break
      tickets.push(next)
    }
    return tickets
  }
}
