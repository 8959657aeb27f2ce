import type { Clock } from '../../clock.js'
import type { TurboPiError } from '../../errors.js'
import type { Runtime } from '../runtime.js'
import { Engine, type EngineOptions } from './engine.js'
import type { RunningBatch, Ticket } from './ticket.js'

/** The engines of a dispatcher: one a card, or the only one. */
export class Engines {
  readonly all: readonly Engine[]
  readonly #clock: Clock
  /** Calls off the look whether a batch should still wait for a busy engine. */
  #looking: (() => void) | undefined

  constructor(runtime: Runtime, options: EngineOptions) {
    this.#clock = options.clock
    const cards = runtime.cards ?? [runtime]
    this.all = cards.map(card => new Engine(card, { ...options, alone: cards.length === 1 }))
  }

  /** ENGINE_HUNG while no engine comes back from its calls. */
  get fault(): TurboPiError | undefined {
    const first = this.all[0]!.fault
    return first && this.all.every(({ fault }) => fault) ? first : undefined
  }

  get working(): number {
    return this.all.reduce((count, { working }) => count + (working ? 1 : 0), 0)
  }

  /** Rows of one batch. */
  get maxBatch(): number {
    return Math.max(...this.all.map(({ maxBatch }) => maxBatch))
  }

  /**
   * Which takes a batch now that begins with a ticket. Undefined when every one hangs, or when the best is busy and the batch
   * had better wait for it: `lookAgain` is called when that may no longer be so.
   */
  choose({ sampling, failedOn }: Ticket, rows: number, lookAgain: () => void): Engine | undefined {
    const best = this.#best(rows, sampling.steps, failedOn)
    if (!best || best.free) return best
    this.#looking ??= this.#clock.after(best.busyMs, () => {
      this.#looking = undefined
      lookAgain()
    })
    return undefined
  }

  /**
   * The one by which a batch is expected to have its answer first; of equals, the one that has been idle for longest. The one
   * that it has failed on is passed over while there are others, and so are those that rest.
   */
  #best(rows: number, steps: number, failedOn: Engine | undefined): Engine | undefined {
    const now = this.#clock.now()
    const usable = this.all.filter(({ fault }) => !fault)
    const others = usable.filter(engine => engine !== failedOn)
    const awake = others.filter(({ resting }) => !resting)
    let best: Engine | undefined
    let soonest = Number.POSITIVE_INFINITY
    for (const engine of [awake, others, usable].find(({ length }) => length > 0) ?? []) {
      const end = engine.expectedEnd(rows, steps, now)
      if (best && (end > soonest || (end === soonest && engine.startedAt >= best.startedAt))) continue
      soonest = end
      best = engine
    }
    return best
  }

  /** Whether one besides this could take up what it failed at. */
  anotherThan(engine: Engine): boolean {
    return this.all.some(other => other !== engine && !other.fault)
  }

  /**
   * A batch has failed on an engine, which is then left alone, unless there is no other. Rows that fail on a second engine that
   * is well are at fault themselves: the first is taken back. Gives those that have changed.
   */
  judge({ engine, tickets, start }: RunningBatch): Engine[] {
    const failedBefore = tickets.flatMap(({ failedOn }) => failedOn ?? [])
    if (this.all.length === 1) {
      engine.fail(start)
      return []
    }
    if (failedBefore.length === 0 || !engine.working) {
      const changed = engine.failing ? [] : [engine]
      engine.fail(start)
      return changed
    }
    const absolved = [...new Set(failedBefore)].filter(({ working }) => !working)
    for (const one of absolved) one.absolve()
    return absolved
  }

  /** Closes all; rejects with the first error once all have ended. */
  async close(): Promise<void> {
    this.#looking?.()
    const ended = await Promise.allSettled(this.all.map(engine => engine.close()))
    for (const end of ended) if (end.status === 'rejected') throw end.reason
  }
}
