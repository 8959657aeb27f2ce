import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { loadPolicy } from '../../../src/policy/loading/load.js'
import type { PolicyOptions } from '../../../src/policy/loading/openpi.js'
import type { Policy } from '../../../src/policy/policy.js'
import {
  MOVED_WEIGHTS,
  type MovedWeights,
  unmaskedCameras,
  unmaskedPadding,
  withManifest,
  withObservation,
  withWeights,
} from '../../mutated-policy.js'

/** A way to serve or to ask wrongly. */
export interface Mutation {
  /** What is wrong, for the report. */
  what: string
  /** The client's fault, by its name in faults.py. */
  fault?: string
  /** The policy of `source` with a fault; `directory` is an empty folder that it may fill. */
  serve?: (source: string, directory: string, options: PolicyOptions) => Promise<Policy>
}
type Serve = NonNullable<Mutation['serve']>

/** What an openpi config of LIBERO says, spelt out: a policy that names its config is refused when it says something else. */
const SPELT_OUT = { config: undefined, embodiment: 'libero', normalisation: 'quantile' }
const manifest =
  (changes: Record<string, unknown>): Serve =>
  (source, directory, { config: _, ...options }) => {
    withManifest(source, directory, { ...SPELT_OUT, ...changes })
    return loadPolicy(directory, options)
  }
const moved =
  (weights: MovedWeights): Serve =>
  (source, directory, options) => {
    withWeights(source, directory, weights)
    return loadPolicy(directory, options)
  }
const observed =
  (change: Parameters<typeof withObservation>[1]): Serve =>
  async (source, _, options) =>
    withObservation(await loadPolicy(source, options), change)

export const MUTATIONS = {
  none: { what: 'as it should be' },
  'zscore-for-quantile': {
    what: 'z-score normalisation for quantile statistics',
    serve: manifest({ normalisation: 'zscore' }),
  },
  'no-state-in-prompt': {
    what: 'the prompt without the state that it was trained with',
    serve: manifest({ discreteState: false }),
  },
  'kv-of-the-layer-before': {
    what: 'K/V of each prefix layer from the layer before',
    serve: moved(MOVED_WEIGHTS.ofTheLayerBefore),
  },
  'one-layer-for-all': {
    what: 'the first layer’s weights in all layers',
    serve: moved(MOVED_WEIGHTS.ofTheFirstLayer),
  },
  'padding-not-masked': { what: 'the prompt’s padding not masked', serve: observed(unmaskedPadding) },
  'missing-camera-as-black': {
    what: 'the missing third camera shown as black',
    serve: observed(unmaskedCameras),
  },
  'swapped-cameras': { what: 'base and wrist camera swapped', fault: 'swapped-cameras' },
  'unrotated-images': { what: 'pictures not turned by 180°', fault: 'unrotated-images' },
  'bgr-images': { what: 'red and blue swapped', fault: 'bgr-images' },
  'black-wrist-camera': { what: 'the wrist camera black', fault: 'black-wrist-camera' },
  'state-in-other-units': { what: 'the state in millimetres and degrees', fault: 'state-in-other-units' },
  'inverted-gripper': { what: 'the gripper’s sign inverted', fault: 'inverted-gripper' },
} as const satisfies Record<string, Mutation>

export type MutationName = keyof typeof MUTATIONS
export const MUTATION_NAMES = Object.keys(MUTATIONS) as readonly MutationName[]

/** The policy of `source` as the mutation serves it; `directory` takes its files. */
export function mutatedPolicy(
  name: MutationName,
  source: string,
  directory: string,
  options: PolicyOptions,
): Promise<Policy> {
  const { serve }: Mutation = MUTATIONS[name]
  if (!serve) return loadPolicy(source, options)
  const own = join(directory, name)
  mkdirSync(own)
  return serve(source, own, options)
}

export const faultOf = (name: MutationName): string => (MUTATIONS[name] as Mutation).fault ?? 'none'
