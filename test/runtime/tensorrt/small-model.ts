import { seededCases } from '../../../src/runtime/agreement/seeded-cases.js'
import { createCpuRuntime } from '../../../src/runtime/cpu/cpu-runtime.js'
import type { PerceiveRow } from '../../../src/runtime/runtime.js'
import { smallConfig } from '../../families/models.js'

export const config = smallConfig()
export const image = new Uint8Array(config.vision.imageSize ** 2 * 3).fill(9)
export const row: PerceiveRow = { images: [image, null, image], tokens: Int32Array.of(2, 3, 4) }
export const blind: PerceiveRow = { images: [null, null, null], tokens: Int32Array.of(7) }
// One short case is enough where the gate itself is not what is tested.
export const quick = seededCases(config, 1)
  .slice(1)
  .map(one => ({ ...one, steps: [2] }))
export const noise = new Float32Array(config.actionHorizon * config.actionDim).fill(0.5)
export const sampling = { steps: 4, noise }

/** What every start here shares. */
export const optionsFor = (weightsPath: string, cache: string, shaped = config) => ({
  weightsPath,
  config: shaped,
  cache,
  precision: 'fp32' as const,
  lanes: 1 as const,
  maxBatch: 1,
  reference: (maxBatch: number) =>
    createCpuRuntime({ weightsPath, config: shaped, cache, maxBatch, prefixSlots: 1 }),
})
