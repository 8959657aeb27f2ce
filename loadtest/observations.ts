import sharp from 'sharp'
import { encodeMsgpack, type Float, type MsgpackValue, NdArray } from '../src/contract/msgpack.js'
import type { ObservationSpec } from '../src/contract/observation.js'

const SIDE = 224

/** What one robot sends, in each form; every robot's differ, so that nothing is coalesced by accident. */
export interface RobotFrames {
  /** Body of POST /infer with JPEG images in base64. */
  json: string
  /** Body of POST /infer in MessagePack with raw images, which is openpi's frame, too; made when it is first asked for. */
  readonly msgpack: Uint8Array
  /** What the robot sees, with raw images, which come last; `moving` is the first number of its state. */
  observation(moving: Float): Record<string, MsgpackValue>
}

/** Frames of `robot` for whatever policy the server serves. */
export async function framesFor(spec: ObservationSpec, robot: number): Promise<RobotFrames> {
  const pictures = spec.cameras.map((_, index) => picture(robot * 16 + index))
  const jpegs = await Promise.all(
    pictures.map(pixels =>
      sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } })
        .jpeg({ quality: 85 })
        .toBuffer(),
    ),
  )
  /** The first number of the state is `moving`; images come last. */
  const observation = <T>(images: readonly T[], moving: T) => {
    const fields: Record<string, MsgpackValue | T> = {}
    for (const [index, { key, size }] of spec.state.entries()) {
      const state: (number | T)[] = Array.from({ length: size }, (_, at) => (robot + at) / 1000)
      if (index === 0) state[0] = moving
      put(fields, key, state)
    }
    put(fields, spec.prompt.key, 'pick up the black bowl')
    for (const [index, { key }] of spec.cameras.entries()) put(fields, key, images[index])
    return fields
  }
  const raw = pictures.map(pixels => new NdArray('|u1', [SIDE, SIDE, 3], pixels))
  let msgpack: Uint8Array | undefined
  return {
    json: JSON.stringify(
      observation<unknown>(
        jpegs.map(jpeg => jpeg.toString('base64')),
        robot / 1000,
      ),
    ),
    get msgpack() {
      return (msgpack ??= encodeMsgpack(observation<MsgpackValue>(raw, robot / 1000)))
    },
    observation: moving => observation<MsgpackValue>(raw, moving),
  }
}

/** A dot in a key nests. */
function put(target: object, key: string, value: unknown): void {
  const node = target as Record<string, unknown>
  const dot = key.indexOf('.')
  if (dot < 0) node[key] = value
  else put((node[key.slice(0, dot)] ??= {}) as object, key.slice(dot + 1), value)
}

/** A smooth picture with some grain, so that its JPEG has an ordinary size. */
function picture(seed: number): Uint8Array {
  const pixels = new Uint8Array(SIDE * SIDE * 3)
  let random = seed + 1
  for (let at = 0; at < pixels.length; at += 1) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0
    const [x, y] = [Math.floor(at / 3) % SIDE, Math.floor(at / 3 / SIDE)]
    pixels[at] = 128 + 90 * Math.sin((x + seed) / 23) * Math.cos(y / 31) + (random >>> 28)
  }
  return pixels
}
