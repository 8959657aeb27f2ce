import type { Timed, Totals } from '../contract/page.js'
import { every } from './link.js'
import { get } from './server.js'

/** What the server did in one interval, from two readings of its totals. */
export interface Figures {
  answersPerSecond: number
  /** Mean milliseconds of an answer, of its network, and of its wait for the engine; NaN when nothing was answered. */
  answerMs: number
  engineMs: number
  waitMs: number
  /** Jobs that waited for the engine, on average over the interval. */
  waiting: number
}

const INTERVAL_MS = 1000
/** Readings that are further apart say little of now. */
const LONGEST_MS = 10_000

/** Reads the server's totals every second while the page is seen. */
export function pollFigures(onFigures: (figures: Figures) => void): void {
  let last: { at: number; totals: Totals } | undefined
  every(INTERVAL_MS, async () => {
    const response = await get('page/figures')
    if (!response?.ok) return true
    const now = { at: performance.now(), totals: (await response.json()) as Totals }
    // A server that was started anew counts from zero.
    if (last && now.at - last.at < LONGEST_MS && now.totals.answers >= last.totals.answers)
      onFigures(between(last.totals, now.totals, (now.at - last.at) / 1000))
    last = now
    return true
  })
}

function between(before: Totals, now: Totals, seconds: number): Figures {
  const meanMs = (of: (totals: Totals) => Timed) =>
    (1000 * (of(now).seconds - of(before).seconds)) / (of(now).count - of(before).count)
  return {
    answersPerSecond: (now.answers - before.answers) / seconds,
    answerMs: meanMs(({ answered }) => answered),
    engineMs: meanMs(({ engine }) => engine),
    waitMs: meanMs(({ waited }) => waited),
    // Little's law: the time that jobs spent waiting, a second.
    waiting: (now.waited.seconds - before.waited.seconds) / seconds,
  }
}
