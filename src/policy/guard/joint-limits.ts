import type { Embodiment } from '../embodiment.js'
import type { Findings } from './findings.js'

export type JointLimits = NonNullable<Embodiment['joints']>

/** What the joints of an embodiment are called in messages: name and unit, or their place. */
export const jointNames = ({ joints, actionSize }: Pick<Embodiment, 'joints' | 'actionSize'>): string[] =>
  Array.from({ length: actionSize }, (_, i) => {
    const joint = joints?.[i]
    if (!joint) return `action ${i}`
    return joint.unit === undefined ? joint.name : `${joint.name} (${joint.unit})`
  })

/** What the numbers of the state are called: as the joint whose action moves the same number, else key and index. */
export const stateNames = (embodiment: Pick<Embodiment, 'joints' | 'actionSize' | 'state'>): string[] => {
  const names = jointNames(embodiment)
  return embodiment.state
    .flatMap(({ key, size }) => Array.from({ length: size }, (_, i) => `${key}[${i}]`))
    .map((place, i) => (embodiment.joints?.[i]?.moves ? names[i]! : place))
}

/** Whether a joint has any limit, or only names. */
export const hasLimits = (joints: JointLimits): boolean =>
  joints.some(({ name, unit, moves, ...limits }) => Object.values(limits).some(limit => limit !== undefined))

/**
 * Watches rows [rows, joints] of robot actions against the limits of each joint: its position, the distance of the first row
 * from the state, and the step from row to row. Rows are changed in place when clamping; `state` is the robot's.
 */
export function watchJoints(
  actions: Float64Array,
  joints: JointLimits,
  names: readonly string[],
  state: Float64Array,
  findings: Findings,
): void {
  const width = joints.length
  for (const [column, { min = -Infinity, max = Infinity, step, first }] of joints.entries()) {
    const joint = names[column]!
    for (let row = 0; row * width < actions.length; row++) {
      const at = row * width + column
      const value = actions[at]!
      const limit = value < min ? min : value > max ? max : undefined
      if (limit !== undefined && findings.clamps({ kind: 'joint_position', joint, row, value, limit }))
        actions[at] = limit
      const reach = row === 0 ? first : step
      if (reach === undefined) continue
      const from = row === 0 ? state[column]! : actions[at - width]!
      const moved = actions[at]! - from
      if (Math.abs(moved) <= reach) continue
      const kind = row === 0 ? 'first_action' : 'joint_step'
      if (findings.clamps({ kind, joint, row, value: moved, limit: reach }))
        actions[at] = from + Math.sign(moved) * reach
    }
  }
}
