import type { Clock } from '../clock.js'

interface Timer {
  readonly at: number
  /** Of timers for the same moment, the one set first goes first. */
  readonly order: number
  call: (() => void) | undefined
}

/** Resolves `ms` from now. */
export const wait = (clock: Clock, ms: number): Promise<void> =>
  new Promise(resolve => clock.after(ms, resolve))

const before = (a: Timer, b: Timer) => a.at < b.at || (a.at === b.at && a.order < b.order)

/** A clock that stands still until `run`, which goes from timer to timer: an hour takes as long as what happens in it. */
export class VirtualClock implements Clock {
  /** A binary heap, the next timer first. */
  readonly #timers: Timer[] = []
  #now = 0
  #set = 0

  now(): number {
    return this.#now
  }

  after(ms: number, call: () => void): () => void {
    const timer: Timer = { at: this.#now + Math.max(0, ms), order: this.#set++, call }
    this.#push(timer)
    return () => {
      timer.call = undefined
    }
  }

  /** Lets time pass until `end`. After each timer all promises that can go on do, before the next one is called. */
  async run(end: number): Promise<void> {
    while (this.#timers.length > 0 && this.#timers[0]!.at <= end) {
      const { at, call } = this.#pop()
      if (!call) continue
      this.#now = at
      call()
      await settled()
    }
    this.#now = end
  }

  #push(timer: Timer): void {
    const timers = this.#timers
    let at = timers.push(timer) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(timer, timers[parent]!)) break
      timers[at] = timers[parent]!
      at = parent
    }
    timers[at] = timer
  }

  #pop(): Timer {
    const timers = this.#timers
    const first = timers[0]!
    const last = timers.pop()!
    if (timers.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= timers.length) break
      if (child + 1 < timers.length && before(timers[child + 1]!, timers[child]!)) child += 1
      if (!before(timers[child]!, last)) break
      timers[at] = timers[child]!
      at = child
    }
    timers[at] = last
    return first
  }
}

/** Resolves once no promise is left that could go on by itself. */
const settled = () => new Promise<void>(resolve => setImmediate(resolve))
