import { loadPolicy } from '../../src/policy/loading/load.js'
import type { Policy } from '../../src/policy/policy.js'
import {
  MOVED_WEIGHTS,
  type MovedWeights,
  unmaskedCameras,
  unmaskedPadding,
  withManifest,
  withObservation,
  withWeights,
} from '../../tools/mutated-policy.js'
import { repositoryPath } from '../support/served-policy.js'

const TABLETOP = repositoryPath('policies/tabletop')

/**
 * Ways to serve a policy wrongly that leave every tensor plausible. Each gives the tabletop policy with one fault;
 * `directory` is an empty folder that it may fill.
 */
export const MUTATIONS: Record<string, (directory: string) => Promise<Policy>> = {
  'z-score for quantile': directory => {
    withManifest(TABLETOP, directory, { normalisation: 'zscore' })
    return loadPolicy(directory)
  },

  'K/V of the wrong model': moved(MOVED_WEIGHTS.ofTheExpert),

  'one layer’s weights for all': moved(MOVED_WEIGHTS.ofTheFirstLayer),

  'unmasked padding': async () =>
    withObservation(await loadPolicy(TABLETOP), (prepared, policy) =>
      unmaskedCameras(unmaskedPadding(prepared, policy), policy),
    ),

  'swapped cameras': async () =>
    withObservation(await loadPolicy(TABLETOP), prepared => {
      const [base, wrist, ...rest] = prepared.row.images
      return { ...prepared, row: { ...prepared.row, images: [wrist!, base!, ...rest] } }
    }),
}

function moved(weights: MovedWeights) {
  return (directory: string) => {
    withWeights(TABLETOP, directory, weights)
    return loadPolicy(directory)
  }
}
