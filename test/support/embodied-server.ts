import { type Embodiment, observationSpec } from '../../src/policy/embodiment.js'
import { jointNames, stateNames } from '../../src/policy/guard/joint-limits.js'
import type { ServerConfig } from '../../src/server/standalone.js'
import { startServer } from './server.js'

/** As it may come from a LeRobot checkpoint: dots, underscores, and names longer than a phone is wide. */
export const LONG_NAMES: Embodiment = {
  format: 'turbo-pi.embodiment/1',
  name: 'so101_bimanual',
  cameras: ['observation.images.left_shoulder_mounted_realsense_d435i_color', 'observation.images.wrist'].map(
    (key, i) => ({
      key,
      slot: ['base_0_rgb', 'left_wrist_0_rgb'][i]!,
      layout: 'chw',
      required: true,
      description: key,
    }),
  ),
  state: [{ key: 'observation.state', size: 6, description: 'state' }],
  promptKey: 'task',
  actionSize: 6,
  joints: ['shoulder_pan.pos', 'shoulder_lift.pos', 'elbow_flex.pos', 'wrist_flex.pos']
    .concat('wristrollwithaverylongunbrokennameindeedlongerthananybox.pos', 'gripper.pos')
    .map(name => ({ name: `left_${name}`, unit: 'deg', moves: 'to' as const })),
}

/** A server of a fake policy with a real embodiment, whose answers are of its size. */
export async function serveEmbodiment(embodiment: Embodiment, config: Partial<ServerConfig> = {}) {
  const names = jointNames(embodiment)
  const spec = observationSpec(embodiment, undefined, false)
  const server = await startServer({
    runtime: { milliseconds: 1 },
    config,
    policy: {
      name: embodiment.name,
      spec,
      actionSize: embodiment.actionSize,
      jointNames: names,
      stateNames: stateNames(embodiment),
      // Of the fake model's size.
      picture: async () => new Uint8Array(4 * 4 * 3).fill(90),
      state: ({ state }) => Float64Array.from(spec.state.flatMap(({ key }) => [...state[key]!])),
      async prepare({ state }) {
        return {
          row: { images: [null], tokens: Int32Array.of(1) },
          truncated: false,
          normalisedState: new Float64Array(3),
          state: Float64Array.from(spec.state.flatMap(({ key }) => [...state[key]!])),
          timing: { decodeMs: 0.5, prepareMs: 0.25 },
          findings: [],
        }
      },
      finish: () => ({
        actions: Float64Array.from({ length: 2 * embodiment.actionSize }, (_, i) => -123.456 + i),
        guard: {
          outOfBounds: 1,
          clamped: false,
          bounds: null,
          findings: [{ kind: 'joint_step', joint: names.at(-2)!, row: 1, value: 3.2, limit: 1 }],
        },
      }),
    },
  })
  return {
    ...server,
    /** Sends an observation, as a robot or without a name. */
    infer(robot?: string) {
      const image = { data: Buffer.alloc(48, 200).toString('base64'), encoding: 'rgb8', width: 4, height: 4 }
      const query = robot === undefined ? '' : `?robot=${robot}`
      return fetch(`${server.url}/infer${query}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          ...Object.fromEntries(embodiment.cameras.map(({ key }) => [key, image])),
          ...Object.fromEntries(embodiment.state.map(({ key, size }) => [key, Array(size).fill(-1.234)])),
          [embodiment.promptKey]: 'put_the_red_block_onto_the_extraordinarily_long_white_plate',
        }),
      })
    },
  }
}
