import { TurboPiError } from '../errors.js'
import { modelIdentity } from '../policy/identity.js'
import type { Policy } from '../policy/policy.js'
import type { Runtime } from '../runtime/runtime.js'
import type { RecordedObservation } from './recorded.js'

/** What a policy makes of an observation once more. */
export interface Replayed {
  /** [horizon, actionSize], before any guard that looks at more than this chunk. */
  actions: number[][]
  /** [horizon, actionDim], normalised. */
  network: Float32Array
}

/** Gives a policy the observations of recordings, with their noise and the chunks that they continued. */
export class Player {
  readonly #policy: Policy
  readonly #runtime: Runtime

  constructor(policy: Policy, runtime: Runtime) {
    this.#policy = policy
    this.#runtime = runtime
  }

  get model(): string {
    return modelIdentity(this.#policy.identity, this.#runtime.info.weights)
  }

  /** What computes, for people. */
  get title(): string {
    const { backend, device, precision } = this.#runtime.info
    return `${this.#policy.name}, ${backend} ${precision} on ${device}`
  }

  get backend(): string {
    return this.#runtime.info.backend
  }

  get precision(): string {
    return this.#runtime.info.precision
  }

  get joints(): readonly string[] {
    return this.#policy.jointNames
  }

  /** Observations that go through the network together. */
  get most(): number {
    return this.#runtime.info.maxBatch
  }

  /**
   * The chunks of observations of one engine call, in as many rows as it had, at their places: the last bits depend on that.
   * Rows that were not recorded are filled with another one. Throws RECORDING_INVALID and what the policy throws.
   */
  async play(observations: readonly RecordedObservation[]): Promise<Replayed[]> {
    const rows = Math.min(observations[0]!.place.rows, this.most)
    const places = Array.from(
      { length: rows },
      (_, row) => observations.find(({ place }) => place.row === row) ?? observations[0]!,
    )
    const left = observations.filter(one => !places.some(({ place }) => place.row === one.place.row))
    const played = new Map(
      (await this.#rowsOf(places)).map((replayed, at) => [places[at]!.place.row, replayed] as const),
    )
    for (const one of left) played.set(one.place.row, (await this.#rowsOf([one]))[0]!)
    return observations.map(({ place }) => played.get(place.row)!)
  }

  async #rowsOf(observations: readonly RecordedObservation[]): Promise<Replayed[]> {
    for (const recorded of observations) this.#require(recorded)
    const prepared = await Promise.all(
      observations.map(({ observation }) => this.#policy.prepare(observation)),
    )
    const prefix = await this.#runtime.perceive(prepared.map(({ row }) => row))
    try {
      const { actions } = await this.#runtime.act([prefix], observations)
      const size = actions.length / observations.length
      return prepared.map((one, at) => {
        const network = actions.slice(at * size, (at + 1) * size)
        return { network, actions: this.#rows(this.#policy.finish(network, one).actions) }
      })
    } finally {
      prefix.release()
    }
  }

  #rows(actions: Float64Array): number[][] {
    const { actionSize, model } = this.#policy
    return Array.from({ length: model.actionHorizon }, (_, row) => [
      ...actions.subarray(row * actionSize, (row + 1) * actionSize),
    ])
  }

  #require({ id, observation, leftOut, continuation }: RecordedObservation): void {
    const { spec, model } = this.#policy
    const refuse = (detail: string) =>
      new TurboPiError(
        'RECORDING_INVALID',
        `Observation ${id} cannot be replayed by ${this.#policy.name}: ${detail}.`,
      )
    for (const { key, required } of spec.cameras) {
      if (leftOut.includes(key))
        throw refuse(`its camera ${key} was not recorded (--record-cameras off, or no picture)`)
      if (required && !observation.images[key]) throw refuse(`it has no camera ${key}`)
    }
    for (const { key, size } of spec.state)
      if (observation.state[key]?.length !== size)
        throw refuse(`${key} has ${observation.state[key]?.length ?? 'no'} numbers, the policy takes ${size}`)
    if (continuation && continuation.previous.length % model.actionDim !== 0)
      throw refuse('the chunk that it continues has other dimensions than the network')
  }
}
