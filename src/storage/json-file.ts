import { type ErrorCode, reasonOf, TurboPiError } from '../errors.js'
import { readGivenFile } from './given-file.js'

export type JsonObject = Record<string, unknown>

/** Indices of sharded checkpoints have a few megabytes. */
const MAX_BYTES = 2 ** 26

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads a JSON file. Throws `code` with the file's name. */
export function readJson(path: string, code: ErrorCode): unknown {
  const text = readGivenFile(path, code, MAX_BYTES).toString('utf8')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new TurboPiError(code, `${path}: cannot be read as JSON: ${reasonOf(error)}`)
  }
}

/** Reads a JSON file that holds an object. Throws `code` with the file's name. */
export function readJsonObject(path: string, code: ErrorCode): JsonObject {
  const value = readJson(path, code)
  if (!isJsonObject(value)) throw new TurboPiError(code, `${path}: expected a JSON object`)
  return value
}
