import type { ActionChunk } from './chunk.js'
import type { ClientObservation } from './observation.js'

/**
 * Plays action chunks one action a tick, as openpi's ActionChunkBroker does: asks for a chunk, hands out its first
 * `horizon` actions, then asks again with the observation of that tick.
 */
export class ActionChunkPlayer {
  readonly #infer: (observation: ClientObservation) => Promise<ActionChunk>
  readonly #horizon: number
  #chunk: ActionChunk | undefined
  #next = 0

  /** `horizon`: actions played of each chunk, at most as many as it has. */
  constructor(infer: (observation: ClientObservation) => Promise<ActionChunk>, horizon: number) {
    if (!Number.isInteger(horizon) || horizon < 1) {
      throw new RangeError(`The horizon is a whole number from 1, got ${horizon}.`)
    }
    this.#infer = infer
    this.#horizon = horizon
  }

  /** The action of this tick. The observation is only used when a new chunk is due. */
  async next(observation: ClientObservation): Promise<number[]> {
    if (!this.#chunk) {
      const chunk = await this.#infer(observation)
      if (chunk.actions.length < this.#horizon) {
        throw new RangeError(
          `The policy's chunks have ${chunk.actions.length} actions, fewer than the ${this.#horizon} to be played.`,
        )
      }
      this.#chunk = chunk
      this.#next = 0
    }
    const action = this.#chunk.actions[this.#next] as number[]
    this.#next += 1
    if (this.#next >= this.#horizon) this.#chunk = undefined
    return action
  }

  /** Forgets the chunk, for a new episode. */
  reset(): void {
    this.#chunk = undefined
  }
}
