import { readFileSync } from 'node:fs'
import { type ErrorCode, reasonOf, TurboPiError } from '../errors.js'

export type JsonObject = Record<string, unknown>

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads a JSON file. Throws `code` with the file's name. */
export function readJson(path: string, code: ErrorCode): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
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
