import { reasonOf, TurboPiError } from '../errors.js'
import { readJson } from '../storage/json-file.js'

/** Reads a JSON file that a check of its schema passes. Throws POLICY_INVALID with the file and the field. */
export function readChecked<T>(path: string, check: (value: unknown) => void): T {
  const value = readJson(path, 'POLICY_INVALID')
  try {
    check(value)
  } catch (error) {
    throw new TurboPiError('POLICY_INVALID', `${path}: ${reasonOf(error)}`)
  }
  return value as T
}
