import type { Static } from 'typebox'
import { ERRORS, TurboPiError } from '../errors.js'
import type { Problem } from './schemas.js'

export type ProblemDocument = Static<typeof Problem>

/** What a caller is told of an error. What is not ours is INTERNAL without its text: nothing leaks a stack or a path. */
export function problemOf(error: unknown): ProblemDocument {
  const known = error instanceof TurboPiError ? error : undefined
  const code = known?.code ?? 'INTERNAL'
  return {
    type: `urn:turbo-pi:error:${code}`,
    title: ERRORS[code].title,
    status: ERRORS[code].status,
    code,
    detail: known?.message ?? 'An unexpected error; the server log has it.',
    errors: [...(known?.fields ?? [])],
  }
}
