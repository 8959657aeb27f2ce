import { createHash } from 'node:crypto'
import { TurboPiError } from '../../errors.js'

/** One key and what its holders may do. */
export interface KeyEntry {
  /** Names its holder in the log and in errors. */
  name: string
  key: string
  /** Requests and observations a second, with a burst of one second's worth; default: no limit. */
  requestsPerSecond?: number
  /** Inferences at a time; default: no limit. */
  inFlight?: number
  /** May exchange policies, where --allow-swap lets anybody; default false. */
  swap?: boolean
}

/** SHA-256: what is compared of a key, so that neither its length nor its bytes show in the time that takes. */
export const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest()

/** A key in use. It outlives a reading of the file of keys in which its name and bytes stay the same. */
export class Key {
  readonly digest: Buffer
  /** What to do when it is no longer valid: one a connection. */
  readonly holders = new Set<() => void>()
  #entry: KeyEntry
  #inFlight = 0
  /** Requests that may be made at `#filledAt`. */
  #tokens: number
  readonly #now: () => number
  #filledAt: number

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(entry: KeyEntry, now: () => number = () => performance.now()) {
    this.#entry = entry
    this.#now = now
    this.#filledAt = now()
    this.digest = digestOf(entry.key)
    this.#tokens = this.#burst
  }

  get name(): string {
    return this.#entry.name
  }

  get maySwap(): boolean {
    return this.#entry.swap ?? false
  }

  /** Takes other limits. */
  become(entry: KeyEntry): void {
    this.#entry = entry
    this.#tokens = Math.min(this.#tokens, this.#burst)
  }

  /** Counts a request. Throws RATE_LIMITED, with when the next one may come. */
  take(): void {
    const { requestsPerSecond: rate } = this.#entry
    if (rate === undefined) return
    const now = this.#now()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filledAt) / 1000) * rate)
    this.#filledAt = now
    if (this.#tokens < 1)
      throw new TurboPiError('RATE_LIMITED', `The key ${this.name} may send ${rate} requests a second.`, {
        retryAfter: (1 - this.#tokens) / rate,
      })
    this.#tokens -= 1
  }

  /** Counts an inference until the function that it gives is called. Throws RATE_LIMITED. */
  begin(): () => void {
    const { inFlight = Number.POSITIVE_INFINITY } = this.#entry
    if (this.#inFlight >= inFlight)
      throw new TurboPiError(
        'RATE_LIMITED',
        `The key ${this.name} may have ${inFlight} inferences under way: wait for answers before asking again.`,
        { retryAfter: 1 },
      )
    this.#inFlight += 1
    return () => {
      this.#inFlight -= 1
    }
  }

  revoke(): void {
    for (const end of [...this.holders]) end()
  }

  get #burst(): number {
    return Math.max(1, this.#entry.requestsPerSecond ?? 1)
  }
}
