import { sameBatch } from '../../families/pi0/sampling.js'
import { batchSize } from './batch-size.js'
import { deadlineOf, FairQueue } from './queue.js'
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

  /**
   * Takes out the batch to be begun now: at most so many that may share it, in order, as many as `batchSize` lets in. `endFor` a
   * step count tells when a batch of so many rows would have its answers.
   */
  takeBatch(most: number, endFor: (steps: number) => (rows: number) => number): Ticket[] {
    const first = this.next?.sampling
    if (!first) return []
    const shares = ({ sampling }: Ticket) => sameBatch(sampling, first)
    const end = endFor(first.steps)
    const deadlines = this.#ready.deadlines(shares)
    for (const ticket of this.#again) if (shares(ticket)) deadlines.push(deadlineOf(ticket))
    const { rows, notBefore, bounded } = batchSize(deadlines, most, end)
    const tickets: Ticket[] = []
    let earliest = Number.POSITIVE_INFINITY
    const fits = (ticket: Ticket) => shares(ticket) && deadlineOf(ticket) >= notBefore
    const inTime = (ticket: Ticket) => {
      earliest = Math.min(earliest, deadlineOf(ticket))
      return !bounded || end(tickets.length + 1) <= earliest
    }
    while (tickets.length < rows) {
      const next = this.#takeNext(fits, inTime)
      if (!next) break
      tickets.push(next)
    }
    return tickets
  }

  #takeNext(fits: (ticket: Ticket) => boolean, wanted: (ticket: Ticket) => boolean): Ticket | undefined {
    const at = this.#again.findIndex(fits)
    if (at < 0) return this.#ready.take(fits, wanted)
    return wanted(this.#again[at]!) ? this.#again.splice(at, 1)[0] : undefined
  }
}
