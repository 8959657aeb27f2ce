/**
 * What happens to what a guard finds: it is reported; brought to the limit; nothing is sent; or nothing is sent, now and
 * later, until somebody lets the robot go on.
 */
export const GUARD_MODES = ['report', 'clamp', 'refuse', 'hold'] as const

export type GuardMode = (typeof GUARD_MODES)[number]

export const refuses = (mode: GuardMode): boolean => mode === 'refuse' || mode === 'hold'

export interface GuardSettings {
  mode: GuardMode
  /** How far beyond q01 and q99 an action may go, as a share of their distance as quantile normalisation has it. */
  margin: number
  /** The same for the state. */
  stateMargin: number
}

export const DEFAULT_GUARD: GuardSettings = { mode: 'report', margin: 0.5, stateMargin: 1 }
