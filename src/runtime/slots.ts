import { TurboPiError } from '../errors.js'
import { checkSampling, type Sampling } from '../families/pi0/sampling.js'
import { layOut, type PrefixLayout } from './prefix-layout.js'
import type {
  ActResult,
  InferenceTrace,
  PerceiveRow,
  Prefix,
  RunOptions,
  Runtime,
  RuntimeInfo,
} from './runtime.js'

/** What a backend tells of a batch that it has perceived. */
export type Perceived = Pick<Prefix, 'timing' | 'images' | 'reused'>

/** A perceived batch: where its K/V lie, and what denoising takes beside them. */
export interface Held<Slot> {
  readonly slot: Slot
  readonly batch: number
  /** Valid prefix tokens of each row. */
  readonly lengths: readonly number[]
  /** [batch, actionDim], where the network takes a state. */
  readonly state: Float32Array | undefined
}

const refuse = (detail: string) => new TurboPiError('RUNTIME_FAILED', detail)

class SlotPrefix<Slot> implements Prefix, Held<Slot> {
  released = false
  readonly lengths: readonly number[]
  readonly state: Float32Array | undefined
  readonly timing: Perceived['timing']
  readonly images?: NonNullable<Perceived['images']>
  readonly reused?: number

  constructor(
    readonly owner: object,
    readonly slot: Slot,
    { lengths, state }: PrefixLayout,
    { timing, images, reused }: Perceived,
    private readonly free: () => void,
  ) {
    this.lengths = Array.from(lengths, Number)
    this.state = state
    this.timing = timing
    if (images) this.images = images
    if (reused !== undefined) this.reused = reused
  }

  get batch(): number {
    return this.lengths.length
  }

  release(): void {
    if (this.released) return
    this.released = true
    this.free()
  }
}

/**
 * What every backend checks alike: rows and their number, whose prefix it is and whether it is still held, the samplings,
 * and that a slot is free. A backend fills a slot, denoises from one, and traces in one.
 */
export abstract class SlotRuntime<Slot> implements Runtime {
  readonly #free: Slot[]

  /** `slots` are `info.prefixSlots` places for the K/V of a batch. */
  protected constructor(
    readonly info: RuntimeInfo,
    slots: readonly Slot[],
  ) {
    this.#free = [...slots]
  }

  /** Vision and prefix of a batch, into a slot. */
  protected abstract fill(
    slot: Slot,
    batch: { rows: readonly PerceiveRow[]; layout: PrefixLayout },
    options: RunOptions,
  ): Promise<Perceived>
  /** Nobody holds what the slot was filled with any more. */
  protected vacate(_slot: Slot): void {}
  /** All denoise steps of held batches together: of one, unless `info.joins`. */
  protected abstract denoise(
    held: readonly Held<Slot>[],
    sampling: readonly Sampling[],
    options: RunOptions,
  ): Promise<ActResult>
  /** Both, with everything in between. */
  protected abstract traceIn(
    slot: Slot,
    layout: PrefixLayout,
    sampling: readonly Sampling[],
  ): Promise<InferenceTrace & ActResult>
  abstract close(): Promise<void>

  async perceive(rows: readonly PerceiveRow[], options: RunOptions = {}): Promise<Prefix> {
    const layout = this.#layOut(rows)
    const { slot, free } = this.#take()
    try {
      return new SlotPrefix(this, slot, layout, await this.fill(slot, { rows, layout }, options), free)
    } catch (error) {
      free()
      throw error
    }
  }

  async act(
    prefixes: readonly Prefix[],
    sampling: readonly Sampling[],
    options: RunOptions = {},
  ): Promise<ActResult> {
    const { config, joins, maxBatch } = this.info
    const most = joins ? prefixes.length : 1
    if (prefixes.length === 0 || prefixes.length > most)
      throw refuse(`act takes ${joins ? 'at least one prefix' : 'one prefix'}, got ${prefixes.length}`)
    const held = prefixes.map(prefix => this.#held(prefix))
    const rows = held.reduce((sum, { batch }) => sum + batch, 0)
    if (rows > maxBatch) throw refuse(`act takes at most ${maxBatch} rows, got ${rows}`)
    checkSampling(sampling, rows, config)
    return this.denoise(held, sampling, options)
  }

  #held(prefix: Prefix): Held<Slot> {
    if (!(prefix instanceof SlotPrefix) || prefix.owner !== this)
      throw refuse('the prefix was made by another runtime')
    if (prefix.released) throw refuse('the prefix has been released')
    return prefix as Held<Slot>
  }

  async trace(
    rows: readonly PerceiveRow[],
    sampling: readonly Sampling[],
  ): Promise<InferenceTrace & ActResult> {
    const layout = this.#layOut(rows)
    checkSampling(sampling, rows.length, this.info.config)
    const { slot, free } = this.#take()
    try {
      return await this.traceIn(slot, layout, sampling)
    } finally {
      free()
    }
  }

  #layOut(rows: readonly PerceiveRow[]): PrefixLayout {
    const { config, maxBatch } = this.info
    if (rows.length < 1 || rows.length > maxBatch)
      throw refuse(`perceive takes 1 to ${maxBatch} rows, got ${rows.length}`)
    return layOut(rows, config)
  }

  #take(): { slot: Slot; free: () => void } {
    if (this.#free.length === 0)
      throw refuse(`all ${this.info.prefixSlots} prefix slots are in use; release one first`)
    const slot = this.#free.pop() as Slot
    const free = () => {
      this.vacate(slot)
      this.#free.push(slot)
    }
    return { slot, free }
  }
}
