import type { Clock } from '../clock.js'
import { releasedConfig } from '../families/pi0/config.js'
import type { Policy, PreparedObservation } from '../policy/policy.js'
import type { Random } from '../tabletop/random.js'
import type { Profile } from './profile.js'
import { quantile } from './times.js'
import { Workers } from './workers.js'

const NOTHING_FOUND = { outOfBounds: 0, clamped: false, bounds: null, findings: [] }

/** What an Inference asks of a policy: preparing takes a core for as long as was measured, all else no time. */
export function simulatedPolicy(
  { cores, prepare }: Profile,
  clock: Clock,
  random: Random,
): Pick<Policy, 'model' | 'actionSize' | 'pixels' | 'prepare' | 'finish'> {
  const processor = new Workers(cores, clock)
  return {
    model: releasedConfig('pi05'),
    actionSize: 1,
    pixels: () => 0,
    prepare: async (): Promise<PreparedObservation> => {
      const decodeMs = quantile(prepare, random.uniform())
      await processor.work(decodeMs)
      return {
        row: { images: [], tokens: new Int32Array(0) },
        truncated: false,
        normalisedState: new Float64Array(0),
        state: new Float64Array(0),
        timing: { decodeMs, prepareMs: 0 },
        findings: [],
      }
    },
    finish: () => ({ actions: new Float64Array(0), guard: NOTHING_FOUND }),
  }
}
