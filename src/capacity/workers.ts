import type { Clock } from '../clock.js'
import { wait } from './virtual-clock.js'

/** Workers that take what comes one after the other: the cores of a machine, or, a single one, the server's thread. */
export class Workers {
  readonly #clock: Clock
  /** When each of them has nothing left to do. */
  readonly #free: number[]

  constructor(count: number, clock: Clock) {
    this.#clock = clock
    this.#free = new Array<number>(count).fill(0)
  }

  /** Resolves when work of `ms` is done, by the worker that is free first. */
  work(ms: number): Promise<void> {
    const first = this.#free.indexOf(Math.min(...this.#free))
    const now = this.#clock.now()
    const end = Math.max(now, this.#free[first]!) + ms
    this.#free[first] = end
    return wait(this.#clock, end - now)
  }
}
