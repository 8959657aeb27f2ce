import { TurboPiError } from '../../errors.js'
import type { Bounds } from './bounds.js'
import type { Findings } from './findings.js'

/** Throws ACTIONS_NOT_FINITE. */
export function requireFinite(actions: Float64Array, names: readonly string[]): void {
  const bad = actions.findIndex(value => !Number.isFinite(value))
  if (bad < 0) return
  const width = names.length
  throw new TurboPiError(
    'ACTIONS_NOT_FINITE',
    `${names[bad % width]} of row ${Math.floor(bad / width)} is ${actions[bad]}. Nothing was sent; check the checkpoint with "turbo-pi doctor --deep".`,
  )
}

/**
 * Watches un-normalised actions before they become absolute or change joint space: the space of the norm stats. Rows
 * [rows, names], changed in place when clamping.
 */
export function watchBounds(
  actions: Float64Array,
  { low, high }: Bounds,
  names: readonly string[],
  findings: Findings,
): void {
  const width = names.length
  for (let i = 0; i < actions.length; i++) {
    const value = actions[i]!
    const column = i % width
    const limit = value < low[column]! ? low[column]! : value > high[column]! ? high[column]! : undefined
    if (limit === undefined) continue
    const row = Math.floor(i / width)
    if (findings.clamps({ kind: 'action_bounds', joint: names[column]!, row, value, limit }))
      actions[i] = limit
  }
}
