import { wait } from '../../src/capacity/virtual-clock.js'
import type { Clock } from '../../src/clock.js'
import { TurboPiError } from '../../src/errors.js'
import type { Sampling } from '../../src/families/pi0/sampling.js'
import type {
  ActResult,
  PerceiveRow,
  Prefix,
  RunOptions,
  Runtime,
  RuntimeInfo,
} from '../../src/runtime/runtime.js'
import { tinyModel } from './fake-runtime.js'

interface HeldPrefix extends Prefix {
  readonly owner: ClockedRuntime
  readonly tokens: readonly number[]
}

/**
 * A card whose calls take their time on a clock of a simulation. Row i answers with its seed and its token, whichever card
 * computes it. It refuses what a real one could not do: the prefix of another card, calls that overlap in a lane, more
 * prefixes than slots.
 */
export class ClockedRuntime implements Runtime {
  readonly info: RuntimeInfo
  /** Tokens of each batch, in the order in which they were begun. */
  readonly batches: number[][] = []
  /** Tokens of each act call. */
  readonly acts: number[][] = []
  /** Of each act call. */
  readonly signals: (AbortSignal | undefined)[] = []
  perceiveMs = 10
  actMs = 30
  /** Milliseconds more for each further row of a batch. */
  rowMs = 2
  /** What calls fail with from now on. */
  failure: Error | undefined
  broken: TurboPiError | undefined
  /** Calls do not return any more. */
  hangs = false
  /** The lane in which it fails or hangs. */
  faultyLane: 'perceive' | 'act' = 'perceive'
  /** Rows of a batch that it has memory for. */
  memoryRows = Number.POSITIVE_INFINITY
  /** A row that no card survives. */
  poison: number | undefined
  closed = false
  prefixes = 0
  readonly #busy = new Set<string>()
  #breaks: TurboPiError | undefined

  constructor(
    readonly clock: Clock,
    info: Partial<RuntimeInfo> & { cards: readonly number[] },
  ) {
    this.info = {
      ...{ backend: 'cuda', device: 'a card', precision: 'bf16', maxBatch: 1, lanes: 1, prefixSlots: 1 },
      ...{ joins: false, weights: 'test', config: tinyModel },
      ...info,
    }
  }

  async perceive(rows: readonly PerceiveRow[]): Promise<Prefix> {
    if (this.prefixes >= this.info.prefixSlots) throw new Error('no prefix slot is free')
    this.prefixes += 1
    let held = true
    const release = () => {
      if (held) this.prefixes -= 1
      held = false
    }
    const tokens = rows.map(row => row.tokens[0]!)
    this.batches.push(tokens)
    try {
      await this.#call('perceive', tokens, this.perceiveMs)
    } catch (error) {
      release()
      throw error
    }
    const prefix: HeldPrefix = {
      owner: this,
      tokens,
      batch: rows.length,
      lengths: rows.map(() => 1),
      timing: { visionMs: 1, prefixMs: 2 },
      release,
    }
    return prefix
  }

  async act(
    prefixes: readonly Prefix[],
    sampling: readonly Sampling[],
    { signal }: RunOptions = {},
  ): Promise<ActResult> {
    const held = prefixes as readonly HeldPrefix[]
    if (held.some(({ owner }) => owner !== this)) throw new Error('the prefix was made by another card')
    if (held.length > 1 && !this.info.joins) throw new Error('it does not join prefixes')
    const tokens = held.flatMap(prefix => prefix.tokens)
    if (tokens.length > this.info.maxBatch) throw new Error('too many rows are joined')
    this.acts.push(tokens)
    this.signals.push(signal)
    await this.#call('act', tokens, this.actMs)
    const actions = Float32Array.from({ length: tokens.length * 6 }, (_, at) => {
      const row = Math.floor(at / 6)
      return (sampling[row]!.noise as number) + tokens[row]!
    })
    return { actions, stepMs: Array.from({ length: sampling[0]!.steps }, () => 1) }
  }

  /** From the next call on every one fails, and it says so, as a session on a destroyed context does. */
  break(reason: TurboPiError): void {
    this.#breaks = reason
  }

  trace(): Promise<never> {
    return Promise.reject(new Error('it has no intermediate tensors'))
  }

  async close(): Promise<void> {
    this.closed = true
  }

  async #call(lane: 'perceive' | 'act', tokens: readonly number[], ms: number): Promise<void> {
    const resource = this.info.lanes === 2 ? lane : 'engine'
    if (this.#busy.has(resource)) throw new Error(`the ${resource} lane is busy`)
    this.#busy.add(resource)
    try {
      if (this.hangs && lane === this.faultyLane) await new Promise(() => {})
      await wait(this.clock, ms + this.rowMs * (tokens.length - 1))
      this.broken = this.#breaks
      if (this.broken) throw this.broken
      if (tokens.length > this.memoryRows) throw new TurboPiError('OUT_OF_MEMORY', 'no memory for the batch')
      if (this.failure && lane === this.faultyLane) throw this.failure
      if (this.poison !== undefined && tokens.includes(this.poison))
        throw new TurboPiError('RUNTIME_FAILED', 'the row cannot be computed')
    } finally {
      this.#busy.delete(resource)
    }
  }
}
