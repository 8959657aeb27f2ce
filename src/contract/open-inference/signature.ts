import type { ObservationSpec } from '../observation.js'
import type { ActionShape } from '../wire.js'

/** A tensor in a model's metadata. −1 stands for what differs from request to request; first comes the number of observations. */
export interface TensorMetadata {
  name: string
  datatype: string
  shape: number[]
}

/** Explicit noise, in the place of a seed. No part of the observation, so not in the metadata. */
export const NOISE = 'noise'
export const ACTIONS = 'actions'
/** What POST /infer answers beside the actions, as a JSON text for each observation. */
export const REPORT = 'report'

/** What a policy takes and gives, as tensors: the names are those of its observation. */
export function signatureOf({ cameras, state, prompt }: ObservationSpec, shape: ActionShape) {
  const inputs: TensorMetadata[] = [
    ...cameras.map(({ key }) => ({ name: key, datatype: 'UINT8', shape: [-1, -1, -1, 3] })),
    ...state.map(({ key, size }) => ({ name: key, datatype: 'FP32', shape: [-1, size] })),
    { name: prompt.key, datatype: 'BYTES', shape: [-1] },
  ]
  const outputs: TensorMetadata[] = [
    { name: ACTIONS, datatype: 'FP32', shape: [-1, shape.horizon, shape.actionSize] },
    { name: REPORT, datatype: 'BYTES', shape: [-1] },
  ]
  return { inputs, outputs }
}
