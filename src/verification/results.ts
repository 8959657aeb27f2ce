import { reasonOf, TurboPiError } from '../errors.js'
import type { Tolerance } from '../onnx/arithmetic.js'
import type { Difference } from '../runtime/agreement/difference.js'

/** What one case gave: a difference for each kind that it holds, or why it was not run. */
export interface CaseResult {
  name: string
  differences: Readonly<Record<string, Difference>>
  skipped?: string
}

/** A case that could not be run. When the runtime cannot be had no case can: then the error goes on. */
export function skippedCase(name: string, error: unknown): CaseResult {
  if (error instanceof TurboPiError && error.code === 'RUNTIME_UNAVAILABLE') throw error
  return { name, differences: {}, skipped: reasonOf(error) }
}

export type Tolerances = Readonly<Record<string, Tolerance>>

/** The difference of several parts of one kind together; parts may be of unequal size. */
export function combined(parts: readonly (Difference & { count: number })[]): Difference {
  const count = parts.reduce((sum, part) => sum + part.count, 0)
  return {
    max: Math.max(0, ...parts.map(part => part.max)),
    mean: count ? parts.reduce((sum, part) => sum + part.mean * part.count, 0) / count : 0,
  }
}

const within = ({ max, mean }: Difference, tolerance: Tolerance) =>
  max <= tolerance.max && (tolerance.mean === undefined || mean <= tolerance.mean)

/** Kinds of a case that exceed their tolerance. */
export function exceeded({ differences }: CaseResult, tolerances: Tolerances): string[] {
  return Object.entries(differences)
    .filter(([kind, difference]) => !within(difference, tolerances[kind]!))
    .map(([kind]) => kind)
}

/** Every case ran, and within the tolerances. */
export function allPassed(results: readonly CaseResult[], tolerances: Tolerances): boolean {
  return (
    results.length > 0 &&
    results.every(result => !result.skipped && exceeded(result, tolerances).length === 0)
  )
}
