import type { Random } from '../../src/tabletop/random.js'
import { clamp, PLACED_RADIUS, randomScene, type Scene, Z_MAX, Z_MIN } from '../../src/tabletop/scene.js'
import type { Task } from '../../src/tabletop/tasks.js'

type Start = (scene: Scene, task: Task, random: Random) => void

/** Ways to begin in the middle of a task, or after something went wrong. */
export const RECOVERY_STARTS: Record<string, Start> = {
  anywhere(scene, _task, random) {
    moveTo(scene, random.uniform(), random.uniform(), random.range(Z_MIN, Z_MAX))
    scene.gripper.closed = random.uniform() < 0.15
  },
  nearTheBlock(scene, task, random) {
    const { x, y } = target(scene, task)
    moveTo(scene, x + 0.05 * random.normal(), y + 0.05 * random.normal(), random.range(Z_MIN, 0.16))
    scene.gripper.closed = random.uniform() < 0.25
  },
  holdingTheBlock(scene, task, random) {
    hold(scene, scene.blocks.indexOf(target(scene, task)))
    moveTo(scene, random.uniform(), random.uniform(), random.range(Z_MIN, Z_MAX))
  },
  holdingAnother(scene, task, random) {
    hold(scene, scene.blocks.indexOf(random.pick(scene.blocks.filter(block => block.colour !== task.block))))
    moveTo(scene, random.uniform(), random.uniform(), random.range(Z_MIN, Z_MAX))
  },
  holdingNearThePlate(scene, task, random) {
    const plate = scene.plates.find(candidate => candidate.colour === task.plate) ?? random.pick(scene.plates)
    hold(scene, scene.blocks.indexOf(target(scene, task)))
    const spread = random.range(0.01, 0.08)
    moveTo(
      scene,
      plate.x + spread * random.normal(),
      plate.y + spread * random.normal(),
      random.range(Z_MIN, 0.3),
    )
  },
  released(scene, task, random) {
    const plate = scene.plates.find(candidate => candidate.colour === task.plate) ?? random.pick(scene.plates)
    const block = target(scene, task)
    block.x = clamp(plate.x + 0.7 * PLACED_RADIUS * random.normal(), 0, 1)
    block.y = clamp(plate.y + 0.7 * PLACED_RADIUS * random.normal(), 0, 1)
    moveTo(
      scene,
      block.x + 0.01 * random.normal(),
      block.y + 0.01 * random.normal(),
      random.range(Z_MIN, 0.3),
    )
  },
}

/** A scene that begins with one of the recovery starts. */
export function recoveryScene(random: Random, task: Task): Scene {
  const scene = randomScene(random, task)
  random.pick(Object.values(RECOVERY_STARTS))(scene, task, random)
  return scene
}

function target(scene: Scene, task: Task) {
  return scene.blocks.find(block => block.colour === task.block)!
}

function hold(scene: Scene, index: number): void {
  scene.held = index
  scene.gripper.closed = true
}

/** Puts the gripper somewhere, a held block with it. */
function moveTo(scene: Scene, x: number, y: number, z: number): void {
  Object.assign(scene.gripper, { x: clamp(x, 0, 1), y: clamp(y, 0, 1), z: clamp(z, Z_MIN, Z_MAX) })
  const held = scene.blocks[scene.held]
  if (held) Object.assign(held, { x: scene.gripper.x, y: scene.gripper.y })
}

/** Noise of one recorded episode: the arm does not quite do what the expert said. */
export class Disturbance {
  readonly #sigma: number
  readonly #push: readonly [number, number]

  constructor(private readonly random: Random) {
    this.#sigma = random.pick([0, 0.008, 0.016])
    const pushed = random.uniform() < 0.2
    this.#push = pushed ? [random.range(-0.015, 0.015), random.range(-0.015, 0.015)] : [0, 0]
  }

  apply(action: Float64Array): Float64Array {
    const result = Float64Array.from(action)
    for (let axis = 0; axis < 3; axis++)
      result[axis] = result[axis]! + this.#sigma * this.random.normal() + (this.#push[axis] ?? 0)
    if (this.random.uniform() < 0.02) result[6] = -result[6]!
    return result
  }
}
