import type { GuardFinding } from '../contract/guard.js'
import type { FleetRobot } from '../contract/page.js'
import type { SkipReason } from '../contract/stream-messages.js'

/** Milliseconds for which a robot that had trouble comes before those that had none. */
const TROUBLE_MS = 60_000

/** What an answer says that matters to who watches. */
interface Answer {
  late: boolean
  guard: { findings: readonly GuardFinding[] }
}

/** One robot in numbers, since the server knows it: for people, beside the counters of /metrics. */
export class RobotFigures {
  #policy: string | undefined
  #answers = 0
  #ageMs: number | undefined
  #late = 0
  #skipped = 0
  #findings = 0
  #lastFinding: GuardFinding | undefined
  #errors = 0
  #lastError: string | undefined
  #heardAt = performance.now()
  #troubledAt = Number.NEGATIVE_INFINITY

  answered(policy: string, ageMs: number, { late, guard: { findings } }: Answer): void {
    this.#hear(policy, late || findings.length > 0)
    this.#answers += 1
    this.#ageMs = ageMs
    if (late) this.#late += 1
    this.#findings += findings.length
    this.#lastFinding = findings[0] ?? this.#lastFinding
  }

  skipped(policy: string, reason: SkipReason): void {
    this.#hear(policy, reason === 'expired')
    this.#skipped += 1
  }

  failed(policy: string, code: string): void {
    this.#hear(policy, true)
    this.#errors += 1
    this.#lastError = code
  }

  /** When something last happened, and whether that was trouble of the last minute. */
  get recent(): { at: number; troubled: boolean } {
    return { at: this.#heardAt, troubled: performance.now() - this.#troubledAt < TROUBLE_MS }
  }

  get shown(): Omit<FleetRobot, 'robot' | 'connections' | 'held'> {
    return {
      policy: this.#policy ?? null,
      heard_ms: performance.now() - this.#heardAt,
      answers: this.#answers,
      age_ms: this.#ageMs ?? null,
      late: this.#late,
      skipped: this.#skipped,
      findings: this.#findings,
      last_finding: this.#lastFinding ?? null,
      errors: this.#errors,
      last_error: this.#lastError ?? null,
    }
  }

  #hear(policy: string, trouble: boolean): void {
    this.#policy = policy
    this.#heardAt = performance.now()
    if (trouble) this.#troubledAt = this.#heardAt
  }
}
