import { reasonOf } from '../../errors.js'

export interface CheckResult {
  name: string
  status: 'ok' | 'failed' | 'skipped' | 'note'
  /** What was found, what is odd, what is wrong, or what had to be found first. */
  detail: string
}

/** What a check found: a value for later checks and a line for the reader. */
export interface Found<T> {
  value: T
  detail: string
}

export const found = <T>(value: T, detail: string): Found<T> => ({ value, detail })

type Present<N extends readonly unknown[]> = { [K in keyof N]: NonNullable<N[K]> }

/**
 * Runs named checks in order. Serving stops at the first failure; the doctor goes on and sees them all, skipping what
 * needs something that an earlier check did not find.
 */
export class Checks {
  readonly results: CheckResult[] = []
  readonly #stopAtFirst: boolean

  constructor(options: { stopAtFirst: boolean }) {
    this.#stopAtFirst = options.stopAtFirst
  }

  get failed(): boolean {
    return this.results.some(({ status }) => status === 'failed' || status === 'skipped')
  }

  /** What is odd and no fault. */
  note(name: string, detail: string): void {
    this.results.push({ name, status: 'note', detail })
  }

  run<const N extends readonly unknown[], T>(
    name: string,
    needs: N,
    check: (...found: Present<N>) => Found<T>,
  ): T | undefined {
    if (needs.some(need => need === undefined)) {
      this.results.push({ name, status: 'skipped', detail: 'needs what an earlier check did not find' })
      return undefined
    }
    try {
      const { value, detail } = check(...(needs as Present<N>))
      this.results.push({ name, status: 'ok', detail })
      return value
    } catch (error) {
      if (this.#stopAtFirst) throw error
      this.results.push({ name, status: 'failed', detail: reasonOf(error) })
      return undefined
    }
  }
}
