import type { Embodiment, Joints } from '../../policy/embodiment.js'

export const YES = 'yes'
export const NO = 'no'
export const NONE = 'none'

export function yesOrNo(answer: string): boolean {
  if (![YES, NO, 'y', 'n'].includes(answer)) throw new Error('yes or no')
  return answer.startsWith('y')
}

export function nonEmpty(answer: string): string {
  if (answer === '') throw new Error('a name')
  return answer
}

/** `KEY` of a camera that each observation must have, `KEY?` of one that may be missing, nothing for a slot without one. */
export function cameraOf(slot: string, answer: string): Embodiment['cameras'] {
  const key = answer.replace(/\?$/, '')
  if (key === '' && answer !== '') throw new Error('a key, with ? behind it when it may be missing')
  if (key === '') return []
  const required = key === answer
  return [{ key, slot, required, layout: 'hwc', description: `camera of slot ${slot}` }]
}

/** `KEY:SIZE[:DESCRIPTION]`, several with commas between them, of `size` numbers in all. */
export function stateOf(answer: string, size: number): Embodiment['state'] {
  const parts = answer.split(',').map(part => {
    const [, key, numbers, description = key] = /^\s*([^:]+):(\d+)(?::(.+))?$/.exec(part) ?? []
    if (key === undefined || Number(numbers) < 1)
      throw new Error(`KEY:SIZE or KEY:SIZE:DESCRIPTION, several with commas between them`)
    return { key, size: Number(numbers), description: description! }
  })
  const total = parts.reduce((sum, part) => sum + part.size, 0)
  if (total !== size)
    throw new Error(`parts of ${size} numbers in all, as the statistics have (these have ${total})`)
  return parts
}

/** openpi's make_bool_mask: 6,-1 are six offsets and one absolute number. */
export function offsetsOf(answer: string, most: number): boolean[] | undefined {
  if (answer === NONE) return undefined
  const runs = answer.split(',').map(Number)
  const mask = runs.flatMap(run => Array<boolean>(Math.min(Math.abs(run) || 0, most + 1)).fill(run > 0))
  if (runs.every(run => Number.isInteger(run) && run !== 0) && mask.length <= most) return mask
  throw new Error(`${NONE}, or runs as of openpi's make_bool_mask such as 6,-1, of ${most} numbers at most`)
}

/** `NAME[:UNIT[:MIN..MAX]]`; either limit may be left out. */
export function jointOf(answer: string): Joints[number] {
  const [, name, unit, min, max] = /^([^:]+)(?::([^:]*)(?::([^:]*)\.\.([^:]*))?)?$/.exec(answer) ?? []
  const limits = [min, max].map(limit => (limit?.trim() ? Number(limit) : undefined))
  const [low, high] = limits
  if (!name?.trim() || limits.some(Number.isNaN))
    throw new Error('NAME, NAME:UNIT or NAME:UNIT:MIN..MAX, for example shoulder:rad:-1.9..1.9')
  if (low !== undefined && high !== undefined && low >= high)
    throw new Error('a least value below the largest')
  return {
    name: name.trim(),
    ...(unit?.trim() && { unit: unit.trim() }),
    ...(low !== undefined && { min: low }),
    ...(high !== undefined && { max: high }),
  }
}
