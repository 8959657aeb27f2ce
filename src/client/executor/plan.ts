import type { ActionChunk } from '../chunk.js'

/** Actions by the tick that they are for. */
export interface Plan {
  /** Tick of the first row: that of the observation that the chunk answers. */
  readonly start: number
  readonly actions: readonly (readonly number[])[]
  readonly chunk: ActionChunk
}

/** The action of a tick; undefined where the plan has none. */
export const actionAt = ({ start, actions }: Plan, tick: number): readonly number[] | undefined =>
  actions[tick - start]

/** The first tick that the plan has no action for. */
export const endOf = ({ start, actions }: Plan): number => start + actions.length

/**
 * `next` with its rows from tick `from` on led over from `old`: of each row that both have, a share goes to `next` that
 * grows evenly over `ticks`. Only dimensions that `continuous` names are led over (all, when absent): half of an open gripper
 * is no command.
 */
export function blended(
  old: Plan,
  next: Plan,
  from: number,
  ticks: number,
  continuous: readonly boolean[] | undefined,
): Plan {
  const actions = next.actions.map((row, index) => {
    const tick = next.start + index
    const before = actionAt(old, tick)
    if (!before || tick < from || tick >= from + ticks) return row
    const share = (tick - from + 1) / (ticks + 1)
    return row.map((value, dim) =>
      (continuous?.[dim] ?? true) ? before[dim]! + share * (value - before[dim]!) : value,
    )
  })
  return { ...next, actions }
}
