import { every } from './link.js'
import { get } from './server.js'

/** What the server did in one interval, from two readings of /metrics. */
export interface Figures {
  answersPerSecond: number
  /** Mean milliseconds of an answer, of its network, and of its wait for the engine; NaN when nothing was answered. */
  answerMs: number
  engineMs: number
  waitMs: number
  /** Jobs that waited for the engine, on average over the interval. */
  waiting: number
}

type Reading = Map<string, number>

const INTERVAL_MS = 1000

/** Readings that are further apart say little of now. */
const LONGEST_MS = 10_000

/** Reads /metrics every second while the page is seen. */
export function pollFigures(onFigures: (figures: Figures) => void): void {
  let last: { at: number; reading: Reading } | undefined
  every(INTERVAL_MS, async () => {
    const response = await get('metrics')
    if (!response?.ok) return true
    const now = { at: performance.now(), reading: parse(await response.text()) }
    if (last && now.at - last.at < LONGEST_MS)
      onFigures(between(last.reading, now.reading, (now.at - last.at) / 1000))
    last = now
    return true
  })
}

function between(before: Reading, now: Reading, seconds: number): Figures {
  const grown = (name: string) => Math.max(0, (now.get(name) ?? 0) - (before.get(name) ?? 0))
  const mean = (histogram: string, labels = '') =>
    (1000 * grown(`${histogram}_sum${labels}`)) / grown(`${histogram}_count${labels}`)
  const stage = (name: string) => mean('turbo_pi_stage_seconds', `{stage="${name}"}`)
  return {
    answersPerSecond: grown('turbo_pi_answers_total') / seconds,
    answerMs: stage('total'),
    engineMs: stage('vision') + stage('prefix') + stage('denoise'),
    waitMs: mean('turbo_pi_queue_wait_seconds'),
    // Little's law: the time that jobs spent waiting, a second.
    waiting: grown('turbo_pi_queue_wait_seconds_sum') / seconds,
  }
}

/** Prometheus' text format: a name with its labels, a space, a number. */
function parse(text: string): Reading {
  const reading: Reading = new Map()
  for (const line of text.split('\n')) {
    const space = line.lastIndexOf(' ')
    if (space > 0 && !line.startsWith('#')) reading.set(line.slice(0, space), Number(line.slice(space + 1)))
  }
  return reading
}
