import { createHash } from 'node:crypto'
import t from 'tap'
import {
  DRAWN_SIZE,
  drawBase,
  drawWrist,
  enlarge,
  IMAGE_SIZE,
  PIXEL_NOISE,
} from '../../src/tabletop/drawing.js'
import { EPISODE_STEPS, Episode } from '../../src/tabletop/episode.js'
import { expertAction } from '../../src/tabletop/expert.js'
import { Random } from '../../src/tabletop/random.js'
import {
  applyAction,
  BLOCK_HALF,
  cloneScene,
  distance,
  FINGER,
  GRASP_HEIGHT,
  GRASP_RADIUS,
  isSolved,
  LIFTED_HEIGHT,
  PLACED_RADIUS,
  PLATE_RADIUS,
  randomScene,
  type Scene,
  stateOf,
  Z_MIN,
} from '../../src/tabletop/scene.js'
import { promptOf, SUITE, TASKS, type Task } from '../../src/tabletop/tasks.js'
import { RECOVERY_STARTS } from '../../tools/tabletop/starts.js'

const PICK: Task = { block: 'red', plate: null }
const PLACE: Task = { block: 'red', plate: 'white' }
const act = (dx: number, dy: number, dz: number, grip: number) => [dx, dy, dz, 0, 0, 0, grip]

/** A table with the red block in the middle, two others and a white plate. */
function scene(change: Partial<Scene> = {}): Scene {
  return {
    gripper: { x: 0.5, y: 0.5, z: 0.05, closed: false },
    blocks: [
      { colour: 'red', x: 0.5, y: 0.5 },
      { colour: 'blue', x: 0.2, y: 0.2 },
      { colour: 'green', x: 0.8, y: 0.2 },
    ],
    plates: [{ colour: 'white', x: 0.5, y: 0.8 }],
    held: -1,
    look: { light: 1, tint: [1, 1, 1] },
    ...change,
  }
}

t.test('tasks speak LIBERO’s words, and the suite has ten of them', async t => {
  t.equal(promptOf(PICK), 'pick up the red block')
  t.equal(promptOf(PLACE), 'pick up the red block and place it on the white plate')
  t.equal(TASKS.length, 20)
  t.equal(new Set(SUITE.map(promptOf)).size, 10)
})

t.test('an episode is the same for the same seed, and another for another', async t => {
  const run = (seed: number) => {
    const episode = new Episode(seed, PLACE)
    const seen = []
    for (let step = 0; step < 12; step++) {
      const { image, wristImage, state } = episode.observe()
      seen.push(createHash('sha256').update(image).update(wristImage).update(state).digest('hex'))
      episode.step(expertAction(episode.scene, PLACE))
    }
    return seen
  }
  t.same(run(7), run(7))
  t.notSame(run(7), run(8))
  t.equal(new Set(run(7)).size, 12, 'and no two steps look the same')
})

t.test('nothing overlaps on a fresh table, and the task can be done on it', async t => {
  for (let seed = 0; seed < 300; seed++) {
    const task = TASKS[seed % TASKS.length]!
    const { blocks, plates } = randomScene(new Random(seed), task)
    t.equal(new Set(blocks.map(block => block.colour)).size, 3)
    t.ok(plates.length === 1 || plates.length === 2)
    t.ok(blocks.some(block => block.colour === task.block))
    t.ok(task.plate === null || plates.some(plate => plate.colour === task.plate))
    const gaps = [
      ...blocks.flatMap((block, i) =>
        blocks.slice(i + 1).map(other => distance(block, other) - 2 * BLOCK_HALF * Math.SQRT2),
      ),
      ...blocks.flatMap(block =>
        plates.map(plate => distance(block, plate) - PLATE_RADIUS - BLOCK_HALF * Math.SQRT2),
      ),
      ...plates.flatMap((plate, i) =>
        plates.slice(i + 1).map(other => distance(plate, other) - 2 * PLATE_RADIUS),
      ),
    ]
    t.ok(Math.min(...gaps) > 0, `seed ${seed}`)
  }
})

t.test('moves are limited and stay inside the workspace', async t => {
  const table = scene()
  applyAction(table, act(1, -1, 1, -1))
  t.match(table.gripper, { x: 0.54, y: 0.46, z: 0.1 })
  for (let i = 0; i < 40; i++) applyAction(table, act(1, -1, -1, -1))
  t.match(table.gripper, { x: 1, y: 0, z: Z_MIN })
})

t.test('the fingers grasp what is near and low enough, and carry it', async t => {
  const grasps = (x: number, z: number) => {
    const table = scene({ gripper: { x, y: 0.5, z, closed: false } })
    applyAction(table, act(0, 0, 0, 1))
    return table.held === 0
  }
  t.ok(grasps(0.5 + GRASP_RADIUS - 1e-6, GRASP_HEIGHT))
  t.notOk(grasps(0.5 + GRASP_RADIUS + 1e-6, GRASP_HEIGHT))
  t.notOk(grasps(0.5, GRASP_HEIGHT + 1e-6))

  const closed = scene({ gripper: { x: 0.5, y: 0.5, z: 0.05, closed: true } })
  applyAction(closed, act(0, 0, 0, 1))
  t.equal(closed.held, -1, 'fingers that are closed already grasp nothing')

  const table = scene()
  applyAction(table, act(0, 0, 0, 1))
  applyAction(table, act(0.04, 0.02, 0.05, 1))
  t.match(table.blocks[0], { x: 0.54, y: 0.52 })
  applyAction(table, act(0.04, 0, 0, -1))
  applyAction(table, act(0.04, 0, 0, -1))
  t.ok(distance(table.blocks[0]!, { x: 0.58, y: 0.52 }) < 1e-9, 'a released block stays where it was let go')
})

t.test('state is position, no rotation, and the fingers as LIBERO reports them', async t => {
  t.same([...stateOf(scene())], [0.5, 0.5, 0.05, 0, 0, 0, FINGER.open, -FINGER.open])
  const table = scene()
  applyAction(table, act(0, 0, 0, 1))
  t.equal(stateOf(table)[6], FINGER.holding)
  t.equal(stateOf(scene({ gripper: { x: 0.9, y: 0.9, z: 0.3, closed: true } }))[6], FINGER.closed)
})

t.test(
  'a pick is solved by holding the right block high, a placement by letting go over the plate',
  async t => {
    const high = { x: 0.5, y: 0.5, z: LIFTED_HEIGHT + 0.001, closed: true }
    t.ok(isSolved(scene({ gripper: high, held: 0 }), PICK))
    t.notOk(isSolved(scene({ gripper: { ...high, z: LIFTED_HEIGHT }, held: 0 }), PICK))
    t.notOk(isSolved(scene({ gripper: high, held: 1 }), PICK), 'another block')
    t.notOk(isSolved(scene({ gripper: high }), PICK), 'nothing held')

    const placed = (away: number, change: Partial<Scene> = {}) => {
      const table = scene(change)
      Object.assign(table.blocks[0]!, { x: 0.5 + away, y: 0.8 })
      return isSolved(table, PLACE)
    }
    t.ok(placed(PLACED_RADIUS - 1e-6))
    t.notOk(placed(PLACED_RADIUS + 1e-6))
    t.notOk(placed(0, { held: 0, gripper: { x: 0.5, y: 0.8, z: 0.05, closed: true } }), 'still held')
    t.notOk(placed(0, { gripper: { x: 0.5, y: 0.8, z: 0.05, closed: true } }), 'fingers closed')
    t.notOk(isSolved(scene({ plates: [{ colour: 'black', x: 0.5, y: 0.5 }] }), PLACE), 'another plate')
  },
)

t.test('an episode ends with success or after its steps, and takes finite actions alone', async t => {
  const episode = new Episode(3, PICK)
  for (let step = 0; step < EPISODE_STEPS; step++) {
    t.notOk(episode.done)
    t.notOk(episode.step(act(0, 0, 0, -1)).success)
  }
  t.ok(episode.done)
  t.throws(() => episode.step(act(0, 0, 0, -1)), { code: 'OPTIONS_INVALID' })
  const fresh = new Episode(3, PICK)
  t.throws(() => fresh.step([0, 0, 0]), { code: 'OPTIONS_INVALID' })
  t.throws(() => fresh.step(act(Number.NaN, 0, 0, 0)), { code: 'OPTIONS_INVALID' })
})

t.test('pixels: enlargement repeats, noise is bounded, light and tint scale', async t => {
  const table = scene()
  const clean = drawBase(table)
  const large = enlarge(clean)
  t.equal(large.length, IMAGE_SIZE * IMAGE_SIZE * 3)
  let same = true
  for (let row = 0; row < IMAGE_SIZE; row++)
    for (let column = 0; column < IMAGE_SIZE; column++)
      for (let channel = 0; channel < 3; channel++) {
        const from = ((row >> 2) * DRAWN_SIZE + (column >> 2)) * 3 + channel
        same &&= large[(row * IMAGE_SIZE + column) * 3 + channel] === clean[from]
      }
  t.ok(same)

  const noisy = drawBase(table, new Random(1))
  const differences = noisy.map((level, i) => Math.abs(level - clean[i]!))
  t.equal(Math.max(...differences), PIXEL_NOISE)

  const dim = drawBase({ ...table, look: { light: 0.9, tint: [1, 0.95, 1.05] } })
  const factor = (channel: number) => dim[channel]! / clean[channel]!
  for (const [channel, expected] of [0.9, 0.9 * 0.95, 0.9 * 1.05].entries())
    t.ok(Math.abs(factor(channel) - expected) < 0.02)
})

t.test('cameras show things where they are', async t => {
  const centre = (image: Uint8Array, match: (r: number, g: number, b: number) => boolean) => {
    let [x, y, count] = [0, 0, 0]
    for (let i = 0; i < DRAWN_SIZE * DRAWN_SIZE; i++) {
      if (!match(image[i * 3]!, image[i * 3 + 1]!, image[i * 3 + 2]!)) continue
      x += (i % DRAWN_SIZE) + 0.5
      y += Math.floor(i / DRAWN_SIZE) + 0.5
      count += 1
    }
    return { x: x / count, y: y / count, count }
  }
  const blue = (r: number, g: number, b: number) => b > 150 && r < 80 && g < 120
  const table = scene({ gripper: { x: 0.9, y: 0.9, z: 0.3, closed: false } })
  const base = centre(drawBase(table), blue)
  t.ok(Math.abs(base.x - (0.3 / 1.2) * DRAWN_SIZE) < 0.6)
  t.ok(Math.abs(base.y - (0.9 / 1.2) * DRAWN_SIZE) < 0.6, 'row 0 is the far side of the table')

  const carried = cloneScene(table)
  Object.assign(carried, { held: 1 })
  Object.assign(carried.gripper, { x: 0.2, y: 0.2, z: Z_MIN + 0.24, closed: true })
  const lifted = centre(drawBase(carried), blue)
  t.ok(Math.abs(base.y - lifted.y - (0.25 * 0.24 * DRAWN_SIZE) / 1.2) < 1, 'a lifted block is drawn higher')

  Object.assign(table.gripper, { x: 0.15, y: 0.25, z: 0.2 })
  const wrist = centre(drawWrist(table), blue)
  const scale = DRAWN_SIZE / (2 * (0.12 + 0.35 * 0.2))
  t.ok(Math.abs(wrist.x - (DRAWN_SIZE / 2 + 0.05 * scale)) < 1.5)
  t.ok(Math.abs(wrist.y - (DRAWN_SIZE / 2 + 0.05 * scale)) < 1.5)
  t.ok(wrist.count > 2 * base.count, 'the wrist camera is nearer')
})

t.test('the expert solves fresh tables', async t => {
  let solved = 0
  for (let seed = 0; seed < 1000; seed++) {
    const task = TASKS[seed % TASKS.length]!
    const episode = new Episode(seed, task)
    while (!episode.done) episode.step(expertAction(episode.scene, task))
    solved += Number(episode.success)
  }
  t.ok(solved >= 990, `${solved} of 1000`)
})

t.test('the expert solves every kind of recovery start', async t => {
  for (const [name, start] of Object.entries(RECOVERY_STARTS)) {
    let solved = 0
    for (let seed = 0; seed < 100; seed++) {
      const task = TASKS[seed % TASKS.length]!
      const random = new Random(seed, 99)
      const table = randomScene(random, task)
      start(table, task, random)
      for (let step = 0; step < EPISODE_STEPS && !isSolved(table, task); step++)
        applyAction(table, expertAction(table, task))
      solved += Number(isSolved(table, task))
    }
    t.ok(solved >= 99, `${name}: ${solved} of 100`)
  }
})
