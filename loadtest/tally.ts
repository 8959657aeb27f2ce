import { build, type Histogram } from 'hdr-histogram-js'

/** What one scenario saw. Times are recorded in microseconds and read in milliseconds. */
export class Tally {
  readonly #times: Histogram = build({
    highestTrackableValue: 600_000_000,
    numberOfSignificantValueDigits: 3,
  })
  readonly answersOf = new Map<number, number>()
  /** Whether what comes counts: not while a server warms up, nor once nothing new is sent that could supersede what waits. */
  counting = true
  /** All answers, those that do not count too. */
  served = 0
  answers = 0
  sent = 0
  superseded = 0
  expired = 0
  coalesced = 0
  stale = 0
  /** Answers after their deadline, as the server marks them. */
  late = 0
  /** Answers that left the server after their deadline without being marked. */
  lateAsFresh = 0
  errors = 0

  answered(robot: number, milliseconds: number, staleAfterMs = Number.POSITIVE_INFINITY): void {
    this.served += 1
    if (!this.counting) return
    this.#times.recordValue(Math.max(1, Math.round(milliseconds * 1000)))
    this.answers += 1
    if (milliseconds > staleAfterMs) this.stale += 1
    this.answersOf.set(robot, (this.answersOf.get(robot) ?? 0) + 1)
  }

  percentile(percent: number): number {
    return this.#times.getValueAtPercentile(percent) / 1000
  }

  /** Answers of the robot that got fewest, as a share of what each of `robots` would have of all. */
  leastShare(robots: number): number {
    const fewest = this.answersOf.size < robots ? 0 : Math.min(...this.answersOf.values())
    return this.answers === 0 ? 0 : (fewest * robots) / this.answers
  }

  /** The largest distance of a robot's answers from the mean share: 0.2 is 20 %. */
  get unfairness(): number {
    const counts = [...this.answersOf.values()]
    const mean = this.answers / counts.length
    return Math.max(...counts.map(count => Math.abs(count - mean) / mean))
  }
}
