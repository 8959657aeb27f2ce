import type { JointTransform } from './joint-transform.js'
import type { Normaliser } from './normalise.js'

/** A chunk as the network gave it, and the state that its offsets are from. */
export interface ServedChunk {
  /** [actionHorizon, actionDim], normalised. */
  readonly actions: Float32Array
  /** Un-normalised, in training joint space. */
  readonly state: Float64Array
}

export interface ActionSpace {
  /** Numbers of a robot action, and of a row in the network. */
  actionSize: number
  actionDim: number
  /** True where an action is an offset from the state of the same index. */
  deltaMask: readonly boolean[] | undefined
  joints: JointTransform | undefined
  normaliser: Normaliser
}

/**
 * Brings what is left of a chunk back into the space that the network denoises, as training brings actions there: training
 * joint space, offsets from the state of the new observation, normalised in float64, padded with zeros (rtc §7).
 */
export class PreviousChunks {
  constructor(private readonly space: ActionSpace) {}

  /** Rows [rows, actionSize] in robot units; `state` is the new one. */
  fromRobot(rows: Float64Array, state: Float64Array): Float64Array {
    const { actionSize, actionDim, deltaMask, joints, normaliser } = this.space
    const count = rows.length / actionSize
    const previous = new Float64Array(count * actionDim)
    for (let i = 0; i < count; i++) {
      const row = rows.slice(i * actionSize, (i + 1) * actionSize)
      joints?.trainedAction(row)
      deltaMask?.forEach((isDelta, j) => {
        if (isDelta) row[j] = row[j]! - state[j]!
      })
      previous.set(normaliser.normalise(row), i * actionDim)
    }
    return previous
  }

  /** Rows from `consumed` on of a chunk that the server has kept: only what its offsets are from moves. */
  fromServed(chunk: ServedChunk, consumed: number, state: Float64Array): Float64Array {
    const { actionSize, actionDim, deltaMask, normaliser } = this.space
    const moved = new Float64Array(actionSize)
    deltaMask?.forEach((isDelta, j) => {
      if (isDelta) moved[j] = chunk.state[j]! - state[j]!
    })
    const shift = normaliser.normaliseDifference(moved)
    const previous = Float64Array.from(chunk.actions.subarray(consumed * actionDim))
    for (let i = 0; i < previous.length; i++) {
      const column = i % actionDim
      // What the network puts into its padding means nothing; it was trained with zeros there.
      previous[i] = column < actionSize ? previous[i]! + shift[column]! : 0
    }
    return previous
  }
}
