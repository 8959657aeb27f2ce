import { Canvas } from '../../src/tabletop/canvas.js'
import {
  BASE_VIEW,
  DRAWN_SIZE,
  drawBase,
  drawWrist,
  toPixel,
  type View,
  wristView,
} from '../../src/tabletop/drawing.js'
import { expertAction } from '../../src/tabletop/expert.js'
import type { Random } from '../../src/tabletop/random.js'
import {
  ACTION_SIZE,
  applyAction,
  BLOCK_HALF,
  blockHeight,
  cloneScene,
  PLATE_RADIUS,
  type Scene,
  stateOf,
} from '../../src/tabletop/scene.js'
import { promptOf, TASKS, type Task } from '../../src/tabletop/tasks.js'

/** Actions of a label; prompts for each observation: the episode's own and counterfactual ones. */
export const HORIZON = 10
export const PROMPTS = 3
/** Side of a patch in drawn pixels, and patches a camera. */
const PATCH = 8
const PATCHES = (DRAWN_SIZE / PATCH) ** 2
const IMAGE_BYTES = DRAWN_SIZE * DRAWN_SIZE * 3

/** The fields of a record in order, as numpy takes them for a packed little-endian dtype. */
export const FIELDS: readonly [name: string, type: string, shape: readonly number[]][] = [
  ['base', '|u1', [DRAWN_SIZE, DRAWN_SIZE, 3]],
  ['wrist', '|u1', [DRAWN_SIZE, DRAWN_SIZE, 3]],
  ['state', '<f8', [8]],
  // Index into TASKS.
  ['task', '|u1', [PROMPTS]],
  // What the expert would do in the next steps, undisturbed.
  ['actions', '<f4', [PROMPTS, HORIZON, ACTION_SIZE]],
  // Gripper → block and gripper → plate in the plane; 0 where the task names no plate.
  ['offsets', '<f4', [PROMPTS, 4]],
  // Share of each patch that the named block and plate cover, in 255ths, for base and wrist camera.
  ['cover', '|u1', [PROMPTS, 2, 2, PATCHES]],
]

const BYTES = { '|u1': 1, '<f4': 4, '<f8': 8 } as Record<string, number>
export const RECORD_BYTES = FIELDS.reduce(
  (sum, [, type, shape]) => sum + BYTES[type]! * shape.reduce((product, side) => product * side, 1),
  0,
)

/** Everything that the trainer needs to know about the records. */
export function describeRecords() {
  return {
    fields: FIELDS,
    recordBytes: RECORD_BYTES,
    prompts: TASKS.map(promptOf),
    blocks: TASKS.map(task => task.block),
    plates: TASKS.map(task => task.plate),
  }
}

/** Writes one observation with PROMPTS prompts and their labels into `target`, which holds RECORD_BYTES. */
export function writeRecord(target: Buffer, scene: Scene, task: Task, random: Random): void {
  let at = 0
  const float = (value: number) => {
    at = target.writeFloatLE(value, at)
  }
  target.set(drawBase(scene), at)
  target.set(drawWrist(scene), at + IMAGE_BYTES)
  at += 2 * IMAGE_BYTES
  for (const value of stateOf(scene)) at = target.writeDoubleLE(value, at)
  const tasks = [task, ...counterfactualTasks(scene, task, random)]
  for (const each of tasks) at = target.writeUInt8(TASKS.indexOf(each), at)
  for (const each of tasks) for (const value of label(scene, each)) float(value)
  for (const each of tasks) for (const value of offsets(scene, each)) float(value)
  for (const each of tasks) {
    const cover = coverage(scene, each)
    target.set(cover, at)
    at += cover.length
  }
}

/** Two more tasks for the same scene: one for the same block, one for another. */
function counterfactualTasks(scene: Scene, task: Task, random: Random): Task[] {
  const possible = TASKS.filter(
    candidate =>
      candidate !== task &&
      scene.blocks.some(block => block.colour === candidate.block) &&
      (candidate.plate === null || scene.plates.some(plate => plate.colour === candidate.plate)),
  )
  const pickOne = (same: boolean) =>
    random.pick(possible.filter(candidate => (candidate.block === task.block) === same))
  return [pickOne(true), pickOne(false)]
}

/** The expert's next HORIZON actions, were nothing to disturb it. */
function label(scene: Scene, task: Task): number[] {
  const future = cloneScene(scene)
  const actions: number[] = []
  for (let step = 0; step < HORIZON; step++) {
    const action = expertAction(future, task)
    actions.push(...action)
    applyAction(future, action)
  }
  return actions
}

function offsets(scene: Scene, task: Task): number[] {
  const { gripper } = scene
  const block = scene.blocks.find(candidate => candidate.colour === task.block)!
  const plate = scene.plates.find(candidate => candidate.colour === task.plate) ?? gripper
  return [block.x - gripper.x, block.y - gripper.y, plate.x - gripper.x, plate.y - gripper.y]
}

/** [2 things, 2 cameras, PATCHES]: how much of each patch the named block and plate cover. */
function coverage(scene: Scene, task: Task): Uint8Array {
  const result = new Uint8Array(4 * PATCHES)
  const blockIndex = scene.blocks.findIndex(candidate => candidate.colour === task.block)
  const block = scene.blocks[blockIndex]!
  const plate = scene.plates.find(candidate => candidate.colour === task.plate)
  for (const [camera, view] of [BASE_VIEW, wristView(scene)].entries()) {
    const height = blockHeight(scene, blockIndex)
    result.set(covered(view, block, BLOCK_HALF, height, false), camera * PATCHES)
    if (plate) result.set(covered(view, plate, PLATE_RADIUS, 0, true), (2 + camera) * PATCHES)
  }
  return result
}

function covered(view: View, at: { x: number; y: number }, half: number, height: number, round: boolean) {
  const canvas = new Canvas(DRAWN_SIZE)
  const [x, y] = toPixel(view, at.x, at.y, height)
  const size = half * view.scale
  if (round) canvas.disc(x, y, size, [1, 0, 0])
  else canvas.rectangle(x, y, size, size, [1, 0, 0])
  const shares = new Float64Array(PATCHES)
  const across = DRAWN_SIZE / PATCH
  for (let row = 0; row < DRAWN_SIZE; row++)
    for (let column = 0; column < DRAWN_SIZE; column++) {
      const patch = Math.floor(row / PATCH) * across + Math.floor(column / PATCH)
      shares[patch] = shares[patch]! + canvas.data[(row * DRAWN_SIZE + column) * 3]!
    }
  return shares.map(share => Math.round((255 * share) / (PATCH * PATCH)))
}
