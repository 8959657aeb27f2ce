import type { ExecutedAction, MarkKind, ReportMessage } from '../../contract/report.js'

/** Actions that are gathered for one message. */
const GATHERED = 16

/** What the robot did and the server was not told yet: actions travel several at a time, and with the next observation. */
export class Reports {
  #executed: ExecutedAction[] = []
  #marks: NonNullable<ReportMessage['marks']> = []

  /** True when it is time to send them. */
  executed(action: ExecutedAction): boolean {
    this.#executed.push(action)
    return this.#executed.length >= GATHERED
  }

  mark(kind: MarkKind, text: string | undefined, at: number): void {
    this.#marks.push({ kind, at, ...(text !== undefined && { text }) })
  }

  /** Everything, once; undefined when there is nothing. */
  take(now: number): ReportMessage | undefined {
    const [executed, marks] = [this.#executed, this.#marks]
    if (executed.length + marks.length === 0) return undefined
    this.forget()
    return {
      type: 'report',
      sent_at: now,
      ...(executed.length > 0 && { executed }),
      ...(marks.length > 0 && { marks }),
    }
  }

  /** A connection is lost: what comes later is another one's. */
  forget(): void {
    this.#executed = []
    this.#marks = []
  }
}
