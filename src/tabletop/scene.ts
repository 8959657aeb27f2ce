import type { Random } from './random.js'
import { BLOCK_COLOURS, type BlockColour, PLATE_COLOURS, type PlateColour, type Task } from './tasks.js'

/** Lengths are in units of the table's side; the workspace is [0, 1]². */
export const BLOCK_HALF = 0.05
export const PLATE_RADIUS = 0.11
/** Gripper height: the lowest lets the fingers enclose a block on the table. */
export const Z_MIN = 0.03
export const Z_MAX = 0.55
/** Largest move of one control step, in the plane and in height. */
export const MAX_STEP_XY = 0.04
export const MAX_STEP_Z = 0.05
/** A grasp succeeds this near to a block's centre and below this height. */
export const GRASP_RADIUS = 0.04
export const GRASP_HEIGHT = 0.1
/** A pick has succeeded above this height, a placement within this distance of the plate's centre. */
export const LIFTED_HEIGHT = 0.4
export const PLACED_RADIUS = 0.07
/** Numbers of an action: dx, dy, dz, three rotations that the table ignores, grip (> 0 closes). */
export const ACTION_SIZE = 7
/** Finger position as LIBERO reports it: open, around a block, closed on nothing. */
export const FINGER = { open: 0.04, holding: 0.02, closed: 0 } as const

export interface Block {
  colour: BlockColour
  x: number
  y: number
}

export interface Plate {
  colour: PlateColour
  x: number
  y: number
}

export interface Scene {
  gripper: { x: number; y: number; z: number; closed: boolean }
  blocks: Block[]
  plates: Plate[]
  /** Index of the held block, −1 when none is. */
  held: number
  /** Brightness of the light and its tint per channel, as factors. */
  look: { light: number; tint: readonly [number, number, number] }
}

const BLOCK_MARGIN = 0.1
const PLATE_MARGIN = 0.15
const GAP = { blockBlock: 0.16, blockPlate: 0.2, platePlate: 0.26 } as const

/** A fresh table on which `task` can be done: three blocks, one or two plates, nothing overlapping. */
export function randomScene(random: Random, task: Task): Scene {
  const others = random.shuffled(BLOCK_COLOURS.filter(colour => colour !== task.block)).slice(0, 2)
  const blockColours = random.shuffled([task.block, ...others])
  const first = task.plate ?? random.pick(PLATE_COLOURS)
  const second = random.pick(PLATE_COLOURS.filter(colour => colour !== first))
  const plateColours = random.shuffled(random.uniform() < 0.5 ? [first] : [first, second])
  const layout = randomLayout(random, blockColours, plateColours)
  return {
    gripper: {
      x: random.range(0.15, 0.85),
      y: random.range(0.15, 0.85),
      z: random.range(0.22, 0.45),
      closed: false,
    },
    ...layout,
    held: -1,
    look: {
      light: random.range(0.88, 1.08),
      tint: [random.range(0.93, 1.07), random.range(0.93, 1.07), random.range(0.93, 1.07)],
    },
  }
}

/** Rejection sampling; starts over when the things placed so far leave no room. */
function randomLayout(
  random: Random,
  blockColours: readonly BlockColour[],
  plateColours: readonly PlateColour[],
) {
  for (;;) {
    const plates: Plate[] = []
    const blocks: Block[] = []
    for (let tries = 0; tries < 200 && blocks.length < blockColours.length; tries++) {
      if (plates.length < plateColours.length) {
        const spot = randomSpot(random, PLATE_MARGIN)
        if (plates.every(plate => distance(plate, spot) >= GAP.platePlate))
          plates.push({ colour: plateColours[plates.length]!, ...spot })
      } else {
        const spot = randomSpot(random, BLOCK_MARGIN)
        const free =
          plates.every(plate => distance(plate, spot) >= GAP.blockPlate) &&
          blocks.every(block => distance(block, spot) >= GAP.blockBlock)
        if (free) blocks.push({ colour: blockColours[blocks.length]!, ...spot })
      }
    }
    if (blocks.length === blockColours.length) return { blocks, plates }
  }
}

function randomSpot(random: Random, margin: number) {
  return { x: random.range(margin, 1 - margin), y: random.range(margin, 1 - margin) }
}

interface Point {
  x: number
  y: number
}

export function distance(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y)
}

export function cloneScene(scene: Scene): Scene {
  return {
    ...scene,
    gripper: { ...scene.gripper },
    blocks: scene.blocks.map(block => ({ ...block })),
    plates: scene.plates.map(plate => ({ ...plate })),
  }
}

/** Height of a block's lower side above the table. */
export function blockHeight(scene: Scene, index: number): number {
  return scene.held === index ? scene.gripper.z - Z_MIN : 0
}

/** Finger position of the gripper as it stands. */
export function fingerOf(scene: Scene): number {
  if (scene.held >= 0) return FINGER.holding
  return scene.gripper.closed ? FINGER.closed : FINGER.open
}

/** LIBERO's state: position 3, axis-angle 3 (always 0: the gripper looks down), finger positions 2. */
export function stateOf(scene: Scene): Float64Array {
  const { x, y, z } = scene.gripper
  const finger = fingerOf(scene)
  return Float64Array.of(x, y, z, 0, 0, 0, finger, -finger)
}

/**
 * One control step, in place: the gripper moves (a held block with it), then the fingers open or close.
 * `action` is (dx, dy, dz, –, –, –, grip); moves are limited to MAX_STEP_XY and MAX_STEP_Z per axis. A released block
 * drops straight down.
 */
export function applyAction(scene: Scene, action: ArrayLike<number>): void {
  const { gripper } = scene
  gripper.x = clamp(gripper.x + clamp(action[0]!, -MAX_STEP_XY, MAX_STEP_XY), 0, 1)
  gripper.y = clamp(gripper.y + clamp(action[1]!, -MAX_STEP_XY, MAX_STEP_XY), 0, 1)
  gripper.z = clamp(gripper.z + clamp(action[2]!, -MAX_STEP_Z, MAX_STEP_Z), Z_MIN, Z_MAX)
  const held = scene.blocks[scene.held]
  if (held) {
    held.x = gripper.x
    held.y = gripper.y
  }
  const closes = action[6]! > 0
  if (closes && !gripper.closed) scene.held = graspable(scene)
  if (!closes) scene.held = -1
  gripper.closed = closes
  const grasped = scene.blocks[scene.held]
  if (grasped) {
    grasped.x = gripper.x
    grasped.y = gripper.y
  }
}

/** The block that closing the fingers here would grasp, −1 when there is none. */
function graspable(scene: Scene): number {
  if (scene.gripper.z > GRASP_HEIGHT) return -1
  let best = -1
  let nearest = GRASP_RADIUS
  for (const [index, block] of scene.blocks.entries()) {
    const away = distance(block, scene.gripper)
    if (away > nearest) continue
    nearest = away
    best = index
  }
  return best
}

/** Whether the task is fulfilled as the scene stands. */
export function isSolved(scene: Scene, task: Task): boolean {
  const index = scene.blocks.findIndex(block => block.colour === task.block)
  if (task.plate === null) return scene.held === index && scene.gripper.z > LIFTED_HEIGHT
  const plate = scene.plates.find(candidate => candidate.colour === task.plate)
  const block = scene.blocks[index]
  if (!plate || !block || scene.held >= 0 || scene.gripper.closed) return false
  return distance(block, plate) <= PLACED_RADIUS
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high)
}
