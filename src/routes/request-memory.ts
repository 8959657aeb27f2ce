import { TurboPiError } from '../errors.js'

/** Milliseconds after which holding memory for longer makes nobody more likely to lose it. */
const LONG_MS = 1000

/**
 * The memory of what clients have sent and the server keeps for them. It is bounded in all; what does not fit costs
 * whoever has held most for longest, not whoever comes next: a robot's observation is there within milliseconds.
 */
export class RequestMemory {
  // A list, for a hash table that grows and shrinks at every request leaves its old tables to full collections.
  readonly #shares: Share[] = []
  readonly #limit: number
  #bytes = 0

  /** Bytes in all. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** `drop` is called, once, when its memory is needed: what it kept is to be let go of. */
  share(drop: (error: TurboPiError) => void): Share {
    const share = new Share(drop, this.#shares.length, bytes => this.#grow(bytes), this.#end)
    this.#shares.push(share)
    return share
  }

  /** Drops everything that may be dropped. */
  clear(error: TurboPiError): void {
    for (const share of [...this.#shares]) if (share.droppable) share.drop(error)
  }

  #grow(bytes: number): void {
    this.#bytes += bytes
    while (this.#bytes > this.#limit) {
      const now = performance.now()
      let largest: Share | undefined
      for (const share of this.#shares)
        if (share.droppable && share.costAt(now) >= (largest?.costAt(now) ?? 0)) largest = share
      if (!largest) return
      largest.drop(
        new TurboPiError(
          'OVERLOADED',
          `What clients are sending takes more than ${this.#limit} bytes (--request-memory), and this holds most of them. Send less at once, and all of it at once.`,
          { retryAfter: 1 },
        ),
      )
    }
  }

  readonly #end = (share: Share): void => {
    const last = this.#shares.pop()!
    if (last === share) return
    this.#shares[share.place] = last
    last.place = share.place
  }
}

/** What one request or connection holds. */
export class Share {
  readonly #drop: (error: TurboPiError) => void
  readonly #grow: (bytes: number) => void
  readonly #end: (share: Share) => void
  #bytes = 0
  #since = 0
  #ended = false
  /** False while the server works on it. */
  droppable = true
  /** Its place in the list of all. */
  place: number

  constructor(
    drop: (error: TurboPiError) => void,
    place: number,
    grow: (bytes: number) => void,
    end: (share: Share) => void,
  ) {
    this.#drop = drop
    this.place = place
    this.#grow = grow
    this.#end = end
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Bytes times how long they have been held. */
  costAt(now: number): number {
    return this.#bytes * Math.min(LONG_MS, 1 + now - this.#since)
  }

  /** Holds `bytes` from now on. May drop others, or itself. */
  set(bytes: number): void {
    if (this.#ended) return
    if (this.#bytes === 0) this.#since = performance.now()
    const more = bytes - this.#bytes
    this.#bytes = bytes
    this.#grow(more)
  }

  drop(error: TurboPiError): void {
    this.droppable = false
    this.#drop(error)
    this.set(0)
  }

  /** It is no longer there. */
  end(): void {
    if (this.#ended) return
    this.set(0)
    this.#ended = true
    this.#end(this)
  }
}
