import type { Observation } from '../../src/contract/observation.js'
import { RobotWatch } from '../../src/policy/guard/robot-watch.js'
import { modelIdentity } from '../../src/policy/identity.js'
import { Normaliser } from '../../src/policy/normalise.js'
import type { ActionChunk, Policy, PreparedObservation } from '../../src/policy/policy.js'
import { PreviousChunks } from '../../src/policy/previous-chunk.js'
import { tinyModel } from './fake-runtime.js'

/** What a fake policy over a fake runtime calls itself in its answers. */
export const FAKE_MODEL = modelIdentity('fake', 'test')

/** One camera, two state numbers. The first state number is the row's token, so a FakeRuntime's answer shows it. */
export function fakePolicy(overrides: Partial<Policy> = {}): Policy & { prepared: number; closed: boolean } {
  const policy = {
    name: 'fake',
    spec: {
      embodiment: 'fake',
      cameras: [
        {
          key: 'observation/image',
          required: true,
          slot: 'base_0_rgb',
          layout: 'hwc' as const,
          description: 'the camera',
        },
      ],
      state: [{ key: 'observation/state', size: 2, description: 'the state' }],
      prompt: { key: 'prompt', required: false, default: 'do it' },
    },
    model: tinyModel,
    identity: 'fake',
    weightsPath: '/nowhere',
    actionSize: 2,
    jointNames: ['lift (m)', 'grip'],
    stateNames: ['lift (m)', 'observation/state[1]'],
    defaultSteps: 2,
    metadata: { reset_pose: [0, 1] },
    prepared: 0,
    closed: false,
    state: (observation: Observation) => observation.state['observation/state']!,
    watch: () => new RobotWatch('report', observation => observation.state['observation/state']!, {}),
    previousChunks: new PreviousChunks({
      actionSize: 2,
      actionDim: tinyModel.actionDim,
      deltaMask: undefined,
      joints: undefined,
      normaliser: new Normaliser({ mean: Float64Array.of(0, 0), std: Float64Array.of(1, 1) }, 'zscore'),
    }),
    pixels: () => 0,
    picture: async () => undefined,
    async prepare(observation: Observation): Promise<PreparedObservation> {
      policy.prepared += 1
      const state = observation.state['observation/state']!
      return {
        row: { images: [null], tokens: Int32Array.of(state[0]!) },
        truncated: false,
        normalisedState: new Float64Array(tinyModel.actionDim),
        state,
        timing: { decodeMs: 0.5, prepareMs: 0.25 },
        findings: [],
      }
    },
    finish(actions: Float32Array): ActionChunk {
      return {
        actions: Float64Array.of(...actions.slice(0, 4)),
        guard: { outOfBounds: 0, clamped: false, bounds: null, findings: [] },
      }
    },
    async close() {
      policy.closed = true
    },
    ...overrides,
  }
  return policy
}

/** An observation of the fake policy. */
export function fakeObservation(token: number, pixel = 0): Observation {
  return {
    images: {
      'observation/image': {
        kind: 'array',
        dtype: 'uint8',
        shape: [4, 4, 3],
        data: new Uint8Array(48).fill(pixel),
      },
    },
    state: { 'observation/state': Float64Array.of(token, 0) },
    prompt: 'do it',
  }
}
