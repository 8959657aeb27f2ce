import type { GuardReport } from '../contract/answer.js'
import { TurboPiError } from '../errors.js'
import type { FeatureStats } from './norm-stats.js'

export type GuardMode = 'report' | 'clamp' | 'refuse'

export interface GuardSettings {
  /** What happens to action values outside the bounds. */
  mode: GuardMode
  /** How far beyond q01 and q99 an action may go, as a share of their distance as quantile normalisation has it. */
  margin: number
}

export const DEFAULT_GUARD: GuardSettings = { mode: 'report', margin: 0.5 }

/**
 * Watches un-normalised actions before they become absolute or change joint space: the space of the norm stats.
 * Bounds are [q01 − m, q99 + m]; statistics without percentiles give none.
 */
export class Guard {
  readonly #mode: GuardMode
  readonly #low: Float64Array | undefined
  readonly #high: Float64Array | undefined

  constructor({ q01, q99 }: FeatureStats, { mode, margin }: GuardSettings) {
    this.#mode = mode
    if (!q01 || !q99) return
    // With the 1e-6 of the normalisation (pi05-spec §4.3), so that a dimension that never moves has a margin too.
    const reach = q99.map((high, i) => (high - (q01[i] as number) + 1e-6) * margin)
    this.#low = q01.map((low, i) => low - (reach[i] as number))
    this.#high = q99.map((high, i) => high + (reach[i] as number))
  }

  /** Rows [rows, width], changed in place when clamping. Throws ACTIONS_NOT_FINITE or ACTIONS_OUT_OF_BOUNDS. */
  watch(actions: Float64Array, width: number): GuardReport {
    const bad = actions.findIndex(value => !Number.isFinite(value))
    if (bad >= 0)
      throw new TurboPiError(
        'ACTIONS_NOT_FINITE',
        `Action ${bad % width} of row ${Math.floor(bad / width)} is ${actions[bad]}. Nothing was sent; check the checkpoint with "turbo-pi doctor --deep".`,
      )
    let outOfBounds = 0
    for (let i = 0; i < actions.length; i++) {
      const value = actions[i] as number
      const column = i % width
      const low = this.#low?.[column] ?? Number.NEGATIVE_INFINITY
      const high = this.#high?.[column] ?? Number.POSITIVE_INFINITY
      if (value >= low && value <= high) continue
      outOfBounds++
      if (this.#mode === 'refuse')
        throw new TurboPiError(
          'ACTIONS_OUT_OF_BOUNDS',
          `Action ${column} of row ${Math.floor(i / width)} is ${value}, outside [${low}, ${high}] of the norm stats. Nothing was sent (--guard refuse).`,
        )
      if (this.#mode === 'clamp') actions[i] = Math.min(high, Math.max(low, value))
    }
    return { outOfBounds, clamped: this.#mode === 'clamp' && outOfBounds > 0 }
  }
}
