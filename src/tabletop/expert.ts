import { ACTION_SIZE, clamp, distance, isSolved, MAX_STEP_XY, MAX_STEP_Z, type Scene } from './scene.js'
import type { Task } from './tasks.js'

const APPROACH_HEIGHT = 0.26
const CARRY_HEIGHT = 0.3
const REST_HEIGHT = 0.46
/** Fingers close on a block, or open over a plate, this near and this low. */
const CLOSE = { radius: 0.02, height: 0.075, aim: 0.045 } as const
const OPEN = { radius: 0.025, height: 0.085, aim: 0.05 } as const

/**
 * What to do next, from the scene as it stands: the expert has no memory, so that it also knows the way from states
 * it would never have brought about. Returns an action of ACTION_SIZE numbers.
 */
export function expertAction(scene: Scene, task: Task): Float64Array {
  const block = scene.blocks.find(candidate => candidate.colour === task.block)!
  const holding = scene.blocks[scene.held]
  if (holding && holding !== block) return move(scene, scene.gripper, scene.gripper.z + MAX_STEP_Z, false)
  if (isSolved(scene, task)) return move(scene, scene.gripper, REST_HEIGHT, holding !== undefined)

  if (!holding) {
    const away = distance(block, scene.gripper)
    const ready = away < CLOSE.radius && scene.gripper.z < CLOSE.height && !scene.gripper.closed
    return move(scene, block, slope(away, CLOSE.radius, CLOSE.aim, APPROACH_HEIGHT), ready)
  }
  const plate = scene.plates.find(candidate => candidate.colour === task.plate)
  if (!plate) return move(scene, scene.gripper, REST_HEIGHT, true)
  const away = distance(plate, scene.gripper)
  const ready = away < OPEN.radius && scene.gripper.z < OPEN.height
  return move(scene, plate, slope(away, OPEN.radius, OPEN.aim, CARRY_HEIGHT), !ready)
}

/** Height to keep at a distance from the goal: `low` within the radius, then rising to `high`. */
function slope(away: number, radius: number, low: number, high: number): number {
  return Math.min(high, low + 1.6 * Math.max(0, away - 0.75 * radius))
}

/** A step towards (x, y, z), slower in the plane while the gripper is still well below that height. */
function move(scene: Scene, to: { x: number; y: number }, z: number, grip: boolean): Float64Array {
  const { gripper } = scene
  const pace = clamp(1.2 - (z - gripper.z) / 0.2, 0.25, 1)
  const action = new Float64Array(ACTION_SIZE)
  action[0] = clamp(to.x - gripper.x, -MAX_STEP_XY, MAX_STEP_XY) * pace
  action[1] = clamp(to.y - gripper.y, -MAX_STEP_XY, MAX_STEP_XY) * pace
  action[2] = clamp(z - gripper.z, -MAX_STEP_Z, MAX_STEP_Z)
  action[6] = grip ? 1 : -1
  return action
}
