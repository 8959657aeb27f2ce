import type { Clock } from '../../clock.js'
import { FairQueue } from './queue.js'
import type { Ticket } from './ticket.js'

/** Turns to prepare observations, given in FairQueue's order to as many at once as there are cores. */
export class Turns {
  readonly #waiting = new FairQueue(ticket => ticket.weight)
  readonly #clock: Clock
  /** Observations that are prepared at once: more would only take the processor from each other. */
  readonly #atOnce: number
  /** Of them, those with pictures larger than cameras': they leave turns, and cores, to all others. */
  readonly #largeAtOnce: number
  readonly #dropExpired: () => void
  #preparing = 0
  #preparingLarge = 0

  /** `dropExpired` takes out whoever waits in vain. */
  constructor(cores: number, clock: Clock, dropExpired: () => void) {
    this.#atOnce = cores + 1
    this.#largeAtOnce = Math.max(1, cores >> 1)
    this.#clock = clock
    this.#dropExpired = dropExpired
  }

  /** Resolves when the ticket may be prepared; undefined when that is at once. Rejects as `Ticket.wait` does. */
  take(ticket: Ticket): Promise<void> | undefined {
    if (this.#waiting.size === 0 && this.#may(ticket)) {
      // Through the line all the same: it is its session's turn of this round.
      this.#waiting.push(ticket)
      this.#waiting.take()
      this.#begun(ticket)
      return undefined
    }
    const turn = ticket.wait<void>()
    if (!ticket.settled) this.#waiting.push(ticket)
    // Those before it may be waiting for a turn of another kind.
    this.#give()
    return turn
  }

  /** What `take` has given is given back. */
  end({ weight }: Ticket): void {
    this.#preparing -= 1
    if (weight > 1) this.#preparingLarge -= 1
  }

  /** Gives out the turns that are free. */
  giveFree(): void {
    if (this.#preparing < this.#atOnce && this.#waiting.size > 0) this.#give()
  }

  /** Does nothing when it does not wait here. */
  remove(ticket: Ticket): void {
    this.#waiting.remove(ticket)
  }

  readonly #may = ({ weight }: Ticket): boolean =>
    this.#preparing < this.#atOnce && (weight === 1 || this.#preparingLarge < this.#largeAtOnce)

  #begun({ weight }: Ticket): void {
    this.#preparing += 1
    if (weight > 1) this.#preparingLarge += 1
  }

  #give(): void {
    this.#dropExpired()
    while (this.#preparing < this.#atOnce) {
      const ticket = this.#waiting.take(this.#may)
      if (!ticket) break
      this.#begun(ticket)
      ticket.stopWaiting(this.#clock.now())
      ticket.wake()
    }
  }
}
