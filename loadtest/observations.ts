import sharp from 'sharp'
import { encodeMsgpack, type MsgpackValue, NdArray } from '../src/contract/msgpack.js'
import type { ObservationSpec } from '../src/contract/observation.js'

const SIDE = 224

/** What one robot sends, in each form; every robot's differ, so that nothing is coalesced by accident. */
export interface RobotFrames {
  /** Body of POST /infer with JPEG images in base64. */
  json: string
  /** Body of POST /infer in MessagePack with raw images, which is openpi's frame, too. */
  msgpack: Uint8Array
  /** What the robot sees at a tick, with raw images: no two ticks are the same. */
  observation(tick: number): Record<string, MsgpackValue>
}

/** Frames of `robot` for whatever policy the server serves. */
export async function framesFor(spec: ObservationSpec, robot: number): Promise<RobotFrames> {
  const json: Record<string, unknown> = {}
  const observation: Record<string, MsgpackValue> = {}
  for (const [index, camera] of spec.cameras.entries()) {
    const pixels = picture(robot * 16 + index)
    const jpeg = await sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } })
      .jpeg({ quality: 85 })
      .toBuffer()
    put(json, camera.key, jpeg.toString('base64'))
    put(observation, camera.key, new NdArray('|u1', [SIDE, SIDE, 3], pixels))
  }
  for (const { key, size } of spec.state) {
    const state = Array.from({ length: size }, (_, at) => (robot + at) / 1000)
    put(json, key, state)
    put(observation, key, state)
  }
  put(json, spec.prompt.key, 'pick up the black bowl')
  put(observation, spec.prompt.key, 'pick up the black bowl')
  const [moving] = spec.state
  return {
    json: JSON.stringify(json),
    msgpack: encodeMsgpack(observation),
    observation: tick => {
      if (!moving) return observation
      const moved = { ...observation }
      put(
        moved,
        moving.key,
        Array.from({ length: moving.size }, () => tick / 1000),
      )
      return moved
    },
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
