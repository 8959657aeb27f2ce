/** A conversion between a robot's joint space and the one that a network was trained in. */
export interface JointTransform {
  /** One state, robot to training space. */
  state(values: Float64Array): Float64Array
  /** One action row in place, training to robot space. */
  action(row: Float64Array): void
  /** Undoes `action`. */
  trainedAction(row: Float64Array): void
}

const FLIP = [1, -1, -1, 1, 1, 1, 1, 1, -1, -1, 1, 1, 1, 1]
const GRIPPERS = [6, 13]

/**
 * ALOHA's linear gripper opening to the encoder angle of the pi models, 0…1 (network §4.5): the linkage has an arm of
 * 36 mm and a horn of 22 mm.
 */
function gripperToAngle(opening: number): number {
  const position = opening * (0.058 - 0.01844) + 0.01844
  const ratio = (0.022 ** 2 + position ** 2 - 0.036 ** 2) / (2 * 0.022 * position)
  const angle = Math.asin(Math.min(1, Math.max(-1, ratio)))
  return (angle - 0.5476) / (1.6296 - 0.5476)
}

/** The model's gripper angle to ALOHA's command; not the inverse of the above, the units stay angular. */
const gripperFromAngle = (angle: number) => (angle + 0.5476 + 0.6213) / (1.491 + 0.6213)

const angleOfGripper = (command: number) => command * (1.491 + 0.6213) - 0.6213 - 0.5476

export const JOINT_TRANSFORMS: Readonly<Record<'aloha', JointTransform>> = {
  aloha: {
    state(values) {
      const turned = values.map((value, i) => (FLIP[i] as number) * value)
      for (const i of GRIPPERS) turned[i] = gripperToAngle(turned[i] as number)
      return turned
    },
    action(row) {
      for (let i = 0; i < row.length; i++) row[i] = (row[i] as number) * (FLIP[i] as number)
      for (const i of GRIPPERS) row[i] = gripperFromAngle(row[i] as number)
    },
    trainedAction(row) {
      for (let i = 0; i < row.length; i++) row[i] = (row[i] as number) * (FLIP[i] as number)
      for (const i of GRIPPERS) row[i] = angleOfGripper(row[i] as number)
    },
  },
}
