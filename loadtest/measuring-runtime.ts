import { setTimeout as sleep } from 'node:timers/promises'
import type { ModelConfig } from '../src/families/pi0/config.js'
import type { Sampling } from '../src/families/pi0/sampling.js'
import type {
  ActResult,
  InferenceTrace,
  PerceiveRow,
  Prefix,
  Runtime,
  RuntimeInfo,
} from '../src/runtime/runtime.js'

/**
 * A runtime that computes nothing and answers after a given time, so that the server can be measured apart from the
 * engine. It answers with zeros. Half of the time is spent in each lane.
 */
export class MeasuringRuntime implements Runtime {
  readonly info: RuntimeInfo
  readonly #laneMs: number

  constructor(config: ModelConfig, options: { engineMs: number; maxBatch: number; lanes: 1 | 2 }) {
    const { engineMs, maxBatch, lanes } = options
    this.#laneMs = engineMs / 2
    this.info = {
      backend: 'cpu',
      device: `no engine, answers after ${engineMs} ms`,
      precision: 'fp32',
      maxBatch,
      lanes,
      prefixSlots: lanes,
      joins: false,
      weights: 'measuring',
      config,
    }
  }

  async perceive(rows: readonly PerceiveRow[]): Promise<Prefix> {
    await this.#wait()
    return {
      batch: rows.length,
      lengths: rows.map(row => row.tokens.length),
      timing: { visionMs: this.#laneMs, prefixMs: 0 },
      release: () => {},
    }
  }

  async act(_prefixes: readonly Prefix[], sampling: readonly Sampling[]): Promise<ActResult> {
    await this.#wait()
    const { steps } = sampling[0]!
    const { actionHorizon, actionDim } = this.info.config
    const actions = new Float32Array(sampling.length * actionHorizon * actionDim)
    return { actions, stepMs: new Array<number>(steps).fill(this.#laneMs / steps) }
  }

  trace(): Promise<InferenceTrace & ActResult> {
    throw new Error('The measuring runtime has no intermediate tensors.')
  }

  async close(): Promise<void> {}

  async #wait(): Promise<void> {
    if (this.#laneMs > 0) await sleep(this.#laneMs)
  }
}
