import { setTimeout as sleep } from 'node:timers/promises'
import { TurboPiError } from '../../src/errors.js'
import type { ModelConfig } from '../../src/families/pi0/config.js'
import type { Sampling } from '../../src/families/pi0/sampling.js'
import type {
  ActResult,
  InferenceTrace,
  PerceiveRow,
  Prefix,
  RunOptions,
  Runtime,
  RuntimeInfo,
} from '../../src/runtime/runtime.js'

const gemma = { width: 8, depth: 1, mlpDim: 8, heads: 1, kvHeads: 1, headDim: 8 }

/** A model of 2 × 3 actions and one 4-pixel camera. */
export const tinyModel: ModelConfig = {
  modelType: 'pi05',
  actionDim: 3,
  actionHorizon: 2,
  maxTokenLength: 8,
  vocabSize: 16,
  cameraSlots: ['base_0_rgb'],
  vision: { width: 8, depth: 1, heads: 1, mlpDim: 8, patch: 2, imageSize: 4, layerNormEps: 1e-6 },
  prefix: gemma,
  expert: gemma,
  ropeTheta: 10000,
  rmsNormEps: 1e-6,
  timeMinPeriod: 0.004,
  timeMaxPeriod: 4,
  trainedDelay: 0,
  timeGrid: 'openpi',
}

export interface EngineCall {
  lane: 'perceive' | 'act'
  rows: readonly PerceiveRow[]
  signal: AbortSignal | undefined
  /** Lets the call return. */
  finish(): void
  fail(error: Error): void
}

export interface FakeRuntimeOptions
  extends Partial<Pick<RuntimeInfo, 'maxBatch' | 'lanes' | 'prefixSlots' | 'joins' | 'cards'>> {
  /** Calls return after this time by themselves; without it a test finishes each call by hand. */
  milliseconds?: number
}

/**
 * A runtime under the test's hand. Row i answers `noise_i + tokens_i[0]`, its seed standing for its noise, so an answer shows whose it is. It
 * refuses what a real one could not do: overlapping calls in one lane, or more prefixes than slots.
 */
export class FakeRuntime implements Runtime {
  readonly info: RuntimeInfo
  /** Every call, in order. */
  readonly calls: EngineCall[] = []
  /** What every act was asked, in order. */
  readonly samplings: (readonly Sampling[])[] = []
  prefixes = 0
  closed = false
  /** Calls wait for the test even if `milliseconds` is set. */
  hold = false
  readonly #milliseconds: number | undefined
  readonly #busy = new Set<string>()
  readonly #open = new Set<EngineCall>()

  constructor({ milliseconds, ...info }: FakeRuntimeOptions = {}) {
    this.#milliseconds = milliseconds
    this.info = {
      backend: 'cpu',
      device: 'test',
      precision: 'fp32',
      maxBatch: 1,
      lanes: 1,
      prefixSlots: 1,
      joins: false,
      weights: 'test',
      config: tinyModel,
      ...info,
    }
  }

  async perceive(rows: readonly PerceiveRow[], options: RunOptions = {}): Promise<Prefix> {
    if (this.prefixes >= this.info.prefixSlots) throw new Error('no prefix slot is free')
    if (rows.length > this.info.maxBatch) throw new Error('the batch is too large')
    await this.#call('perceive', rows, options.signal)
    this.prefixes += 1
    let held = true
    return Object.assign(
      {
        batch: rows.length,
        lengths: rows.map(row => row.tokens.length),
        timing: { visionMs: 1, prefixMs: 2 },
        release: () => {
          if (held) this.prefixes -= 1
          held = false
        },
      },
      { rows },
    )
  }

  async act(
    prefixes: readonly Prefix[],
    sampling: readonly Sampling[],
    options: RunOptions = {},
  ): Promise<ActResult> {
    if (prefixes.length > 1 && !this.info.joins) throw new Error('it does not join prefixes')
    const rows = prefixes.flatMap(prefix => (prefix as Prefix & { rows: readonly PerceiveRow[] }).rows)
    if (rows.length > this.info.maxBatch) throw new Error('too many rows are joined')
    this.samplings.push(sampling)
    await this.#call('act', rows, options.signal)
    const size = this.info.config.actionHorizon * this.info.config.actionDim
    const actions = Float32Array.from({ length: rows.length * size }, (_, at) => {
      const row = Math.floor(at / size)
      const { noise } = sampling[row]!
      return (typeof noise === 'number' ? noise : noise[at % size]!) + rows[row]!.tokens[0]!
    })
    return { actions, stepMs: Array.from({ length: sampling[0]!.steps }, () => 1) }
  }

  trace(): Promise<InferenceTrace & ActResult> {
    return Promise.reject(new Error('the fake runtime has no intermediate tensors'))
  }

  async close(): Promise<void> {
    this.closed = true
  }

  /** The calls that have not returned, oldest first. */
  get open(): EngineCall[] {
    return [...this.#open]
  }

  /** The call that a lane is busy with. */
  at(lane: 'perceive' | 'act'): EngineCall | undefined {
    return this.open.find(call => call.lane === lane)
  }

  async #call(lane: 'perceive' | 'act', rows: readonly PerceiveRow[], signal?: AbortSignal): Promise<void> {
    const resource = this.info.lanes === 2 ? lane : 'engine'
    if (this.#busy.has(resource)) throw new Error(`the ${resource} lane is busy`)
    this.#busy.add(resource)
    let call: EngineCall | undefined
    const cancelled = () => call?.fail(new TurboPiError('REQUEST_CANCELLED', 'stopped between two steps'))
    try {
      await new Promise<void>((finish, fail) => {
        call = { lane, rows, signal, finish, fail }
        this.calls.push(call)
        this.#open.add(call)
        signal?.addEventListener('abort', cancelled, { once: true })
        if (this.#milliseconds !== undefined && !this.hold) void sleep(this.#milliseconds).then(finish)
      })
    } finally {
      signal?.removeEventListener('abort', cancelled)
      if (call) this.#open.delete(call)
      this.#busy.delete(resource)
    }
  }
}

/** Lets everything that is ready to run, run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(resolve => setImmediate(resolve))
}

/** Finishes open calls, oldest first, until none is left. */
export async function finishAll(runtime: FakeRuntime): Promise<void> {
  for (await settle(); runtime.open.length > 0; await settle()) runtime.open[0]!.finish()
}
