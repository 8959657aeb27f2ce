/** Time and timers, of the machine or of a simulation. */
export interface Clock {
  /** Milliseconds of a clock that only goes on, as performance.now(). */
  now(): number
  /** Calls `call` once, `ms` from now; returns what calls it off. */
  after(ms: number, call: () => void): () => void
}

export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms)
    return () => clearTimeout(timer)
  },
}
