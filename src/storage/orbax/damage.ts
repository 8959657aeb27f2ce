import { reasonOf, TurboPiError } from '../../errors.js'

/** A fault of a checkpoint's file: what was expected there and what came. */
export const damaged = (path: string, detail: string, cause?: unknown) =>
  new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`, { cause })

/** Runs `read`; whatever it throws that is no error of ours says which file could not be read. */
export function reading<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof TurboPiError) throw error
    throw damaged(path, `cannot be read: ${reasonOf(error)}. Copy it again.`, error)
  }
}

/** Parses a file's text as a JSON object. */
export function parseObject(path: string, text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw damaged(path, `is not JSON (${reasonOf(error)}); it is cut short or damaged, copy it again.`, error)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>
  throw damaged(path, 'expected a JSON object.')
}
