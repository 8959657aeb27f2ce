import type { FeatureStats } from '../norm-stats.js'
import { boundsOf } from './bounds.js'
import type { JointLimits } from './joint-limits.js'

/** Ranges below are those of a number that never moved in training. */
const LEAST_RANGE = 1e-5

/** A joint of which it is known that its action moves the state of the same index. */
export interface MovedJoint {
  index: number
  name: string
  /** The action moves the state by so much, or to that value. */
  moves: 'by' | 'to'
  /** Between the bounds of the norm stats. */
  actionRange: number
  stateRange: number
}

/** The joints of an embodiment whose motion can be told from actions and states. */
export function movedJoints(
  joints: JointLimits,
  names: readonly string[],
  state: FeatureStats,
  actions: FeatureStats,
): MovedJoint[] {
  const [states, commands] = [boundsOf(state, 0), boundsOf(actions, 0)]
  if (!states || !commands) return []
  return joints.flatMap(({ moves }, index) => {
    const stateRange = states.high[index]! - states.low[index]!
    const actionRange = commands.high[index]! - commands.low[index]!
    if (!moves || !(stateRange > LEAST_RANGE) || !(actionRange > LEAST_RANGE)) return []
    return { index, name: names[index]!, moves, actionRange, stateRange }
  })
}
