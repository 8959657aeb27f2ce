import { TurboPiError } from '../../src/errors.js'
import { mutateBytes } from './mutate-bytes.js'
import { mutateTree } from './mutate-tree.js'
import type { Random } from './random.js'

/** Something that reads what others have written. */
export interface Target {
  name: string
  /** What 1,000,000 and 100,000 of the promise count. */
  kind: 'message' | 'file'
  /** Sound inputs, and some that were found to be worth keeping. */
  seeds: () => Buffer[]
  mutate: (input: Buffer, other: Buffer, random: Random) => Buffer
  /** Reads an input; a refusal is a TurboPiError, and anything else that is thrown is a fault. */
  read: (input: Buffer) => unknown
}

export const jsonBytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value) ?? 'null')

/** Changes the structure of JSON most of the time, and bytes the rest. */
export function mutateJson(input: Buffer, other: Buffer, random: Random): Buffer {
  if (random.chance(0.2)) return mutateBytes(input, other, random)
  try {
    return jsonBytes(mutateTree(JSON.parse(input.toString()), random))
  } catch {
    return mutateBytes(input, other, random)
  }
}

/** A refusal in words of ours, which must be short and without a stack; undefined when it is none. */
export function faultOf(error: unknown): string | undefined {
  if (!(error instanceof TurboPiError)) return `${(error as Error)?.stack ?? error}`
  if (error.code === 'INTERNAL') return `INTERNAL: ${error.message}`
  if (error.message.length > 20_000) return `a refusal of ${error.message.length} characters`
  return /\n {4}at /.test(error.message) ? `a stack in a refusal: ${error.message}` : undefined
}
