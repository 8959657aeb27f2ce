import type { ObservationSpec } from '../contract/observation.js'
import type { ActionShape } from '../contract/schemas.js'
import type { RuntimeInfo } from '../runtime/runtime.js'

/** What this server serves. */
export interface ServiceMetadata {
  policy: string
  observation: ObservationSpec
  shape: ActionShape
  defaultSteps: number
  /** Names of the action's dimensions, with units where the embodiment has them. */
  joints: readonly string[]
  /** The same of the numbers of the state, one part after the other. */
  stateNames: readonly string[]
  /** Rows that real-time chunking in mode trained may be given; 0: the checkpoint was not trained for it. */
  trainedDelay: number
  /** Names the policy that acts: equal on every machine and backend. Null while the engine is loading. */
  model: string | null
  /** Null while the engine is loading. */
  runtime: Pick<
    RuntimeInfo,
    'backend' | 'device' | 'cards' | 'memory' | 'precision' | 'maxBatch' | 'lanes' | 'weights' | 'chosen'
  > | null
  /** openpi's policy_metadata: the first frame of its protocol. */
  openpi: Readonly<Record<string, unknown>>
}

/** What is told of a runtime. */
export function described({
  backend,
  device,
  cards,
  memory,
  precision,
  maxBatch,
  lanes,
  weights,
  chosen,
}: RuntimeInfo): ServiceMetadata['runtime'] {
  return {
    ...{ backend, device, precision, maxBatch, lanes, weights },
    ...(cards !== undefined && { cards }),
    ...(memory !== undefined && { memory }),
    ...(chosen !== undefined && { chosen }),
  }
}
