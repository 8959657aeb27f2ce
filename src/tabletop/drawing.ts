import { Canvas, type Rgb } from './canvas.js'
import type { Random } from './random.js'
import { BLOCK_HALF, blockHeight, clamp, fingerOf, PLATE_RADIUS, type Scene, Z_MIN } from './scene.js'
import type { BlockColour, PlateColour } from './tasks.js'

/** Side at which a camera is drawn, and how many times it is repeated to give the 224² of the observation. */
export const DRAWN_SIZE = 56
export const ENLARGEMENT = 4
export const IMAGE_SIZE = DRAWN_SIZE * ENLARGEMENT
/** Largest pixel noise, in levels of 255. */
export const PIXEL_NOISE = 6

const FLOOR: Rgb = [58, 54, 52]
const TABLE: Rgb = [158, 132, 104]
const SHADOW: Rgb = [30, 24, 20]
const PALM: Rgb = [112, 114, 122]
const FINGERS: Rgb = [74, 76, 84]
const BLOCKS: Record<BlockColour, Rgb> = {
  red: [214, 40, 36],
  green: [44, 160, 60],
  blue: [36, 78, 208],
  yellow: [236, 208, 40],
  purple: [140, 52, 168],
}
const PLATES: Record<PlateColour, { face: Rgb; rim: Rgb }> = {
  white: { face: [228, 226, 222], rim: [206, 204, 200] },
  black: { face: [34, 34, 38], rim: [52, 52, 56] },
  cyan: { face: [64, 206, 214], rim: [48, 180, 190] },
}

/** Where a camera sees table coordinates: pixels a unit, and the point at its upper left corner. */
export interface View {
  scale: number
  left: number
  top: number
  /** How far a height of 1 moves a thing up in the image, in table units. */
  lift: number
}

/** The fixed camera: the table over [−0.1, 1.1]², seen slightly from the front. */
export const BASE_VIEW: View = { scale: DRAWN_SIZE / 1.2, left: -0.1, top: 1.1, lift: 0.25 }

/** The camera on the gripper looks straight down and sees more from higher up. */
export function wristView(scene: Scene): View {
  const { x, y, z } = scene.gripper
  const half = 0.12 + 0.35 * z
  return { scale: DRAWN_SIZE / (2 * half), left: x - half, top: y + half, lift: 0 }
}

/** What the wrist camera sees of things at the gripper itself: always at the same distance. */
const HAND_SCALE = DRAWN_SIZE / (2 * (0.12 + 0.35 * Z_MIN))

export function toPixel(view: View, x: number, y: number, z = 0): [number, number] {
  return [(x - view.left) * view.scale, (view.top - y - view.lift * z) * view.scale]
}

/** The base camera, u8 RGB [56, 56, 3]. Without `noise` the pixels carry none. */
export function drawBase(scene: Scene, noise?: Random): Uint8Array {
  const canvas = drawTable(scene, BASE_VIEW)
  const { scale } = BASE_VIEW
  const { x, y, z } = scene.gripper
  const [shadowX, shadowY] = toPixel(BASE_VIEW, x, y)
  canvas.disc(shadowX, shadowY, (0.045 + 0.03 * z) * scale, SHADOW, 0.4)
  drawHeld(canvas, scene, toPixel(BASE_VIEW, x, y, z - Z_MIN), scale)
  drawGripper(canvas, scene, toPixel(BASE_VIEW, x, y, z), scale)
  return develop(canvas, scene, noise)
}

/** The wrist camera, u8 RGB [56, 56, 3]. */
export function drawWrist(scene: Scene, noise?: Random): Uint8Array {
  const canvas = drawTable(scene, wristView(scene))
  const centre: [number, number] = [DRAWN_SIZE / 2, DRAWN_SIZE / 2]
  drawHeld(canvas, scene, centre, HAND_SCALE)
  drawGripper(canvas, scene, centre, HAND_SCALE)
  return develop(canvas, scene, noise)
}

/** The floor, the table, and what lies on it. */
function drawTable(scene: Scene, view: View): Canvas {
  const canvas = new Canvas(DRAWN_SIZE)
  canvas.fill(FLOOR)
  canvas.rectangle(...toPixel(view, 0.5, 0.5), 0.5 * view.scale, 0.5 * view.scale, TABLE)
  for (const plate of scene.plates) {
    const { face, rim } = PLATES[plate.colour]
    const centre = toPixel(view, plate.x, plate.y)
    canvas.disc(...centre, PLATE_RADIUS * view.scale, rim)
    canvas.disc(...centre, 0.8 * PLATE_RADIUS * view.scale, face)
  }
  for (const [index, block] of scene.blocks.entries()) {
    if (index === scene.held) continue
    drawBlock(canvas, toPixel(view, block.x, block.y, blockHeight(scene, index)), view.scale, block.colour)
  }
  return canvas
}

function drawBlock(canvas: Canvas, [x, y]: [number, number], scale: number, colour: BlockColour): void {
  const half = BLOCK_HALF * scale
  canvas.rectangle(x, y, half, half, BLOCKS[colour])
}

function drawHeld(canvas: Canvas, scene: Scene, at: [number, number], scale: number): void {
  const held = scene.blocks[scene.held]
  if (held) drawBlock(canvas, at, scale, held.colour)
}

/** A palm and two fingers, as far apart as they stand open. */
function drawGripper(canvas: Canvas, scene: Scene, [x, y]: [number, number], scale: number): void {
  const apart = (0.014 + 1.3 * fingerOf(scene)) * scale
  canvas.rectangle(x, y - 0.03 * scale, 0.075 * scale, 0.01 * scale, PALM)
  canvas.rectangle(x - apart, y, 0.011 * scale, 0.03 * scale, FINGERS)
  canvas.rectangle(x + apart, y, 0.011 * scale, 0.03 * scale, FINGERS)
}

/** Light, tint, rounding and noise. */
function develop(canvas: Canvas, scene: Scene, noise?: Random): Uint8Array {
  const { light, tint } = scene.look
  const image = new Uint8Array(canvas.data.length)
  for (let i = 0; i < image.length; i++) {
    const level = Math.round(canvas.data[i]! * light * tint[i % 3]!)
    const grain = noise ? noise.integer(2 * PIXEL_NOISE + 1) - PIXEL_NOISE : 0
    image[i] = clamp(clamp(level, 0, 255) + grain, 0, 255)
  }
  return image
}

/** Repeats every pixel ENLARGEMENT times in both directions: [56, 56, 3] to [224, 224, 3]. */
export function enlarge(image: Uint8Array): Uint8Array {
  const result = new Uint8Array(IMAGE_SIZE * IMAGE_SIZE * 3)
  const rowBytes = IMAGE_SIZE * 3
  for (let row = 0; row < DRAWN_SIZE; row++) {
    const start = row * ENLARGEMENT * rowBytes
    for (let column = 0; column < IMAGE_SIZE; column++) {
      const from = (row * DRAWN_SIZE + Math.floor(column / ENLARGEMENT)) * 3
      for (let channel = 0; channel < 3; channel++)
        result[start + column * 3 + channel] = image[from + channel]!
    }
    for (let copy = 1; copy < ENLARGEMENT; copy++)
      result.copyWithin(start + copy * rowBytes, start, start + rowBytes)
  }
  return result
}
