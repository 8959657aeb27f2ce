import { CALLER_LEFT } from '../../cancellation.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { checkSampling, type Sampling } from '../../families/pi0/sampling.js'
import type { NativeAct, NativeError, NativeJob, NativeSession } from '../gpu/addon.js'
import { cropped, type EngineBatch, engineBatch } from '../gpu/batch.js'
import { drawNoise } from '../noise.js'
import type {
  ActResult,
  InferenceTrace,
  PerceiveRow,
  Prefix,
  RunOptions,
  Runtime,
  RuntimeInfo,
} from '../runtime.js'

const refuse = (detail: string) => new TurboPiError('RUNTIME_FAILED', detail)

/** The K/V of a batch in one of the GPU session's slots. */
class TensorRtPrefix implements Prefix {
  released = false

  constructor(
    readonly owner: TensorRtRuntime,
    readonly slot: number,
    readonly lengths: readonly number[],
    readonly state: Float32Array,
    readonly timing: { readonly visionMs: number; readonly prefixMs: number },
    private readonly free: () => void,
  ) {}

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
 * Runs the network through the native addon: engines, CUDA graphs and streams are its business; slots, padding and the
 * modulation table are decided here. After a device fault every call fails with the first reason.
 */
export class TensorRtRuntime implements Runtime {
  private readonly freeSlots: number[]
  /** Step counts whose modulation was sent, or is on its way. */
  private readonly prepared = new Map<number, Promise<void>>()

  /** `modulationTable` gives [steps, modulation] of a step count. */
  constructor(
    readonly info: RuntimeInfo,
    private readonly session: NativeSession,
    private readonly modulationTable: (steps: number) => Promise<Float32Array>,
  ) {
    this.freeSlots = Array.from({ length: info.prefixSlots }, (_, slot) => slot)
  }

  async perceive(rows: readonly PerceiveRow[], { signal }: RunOptions = {}): Promise<Prefix> {
    const batch = this.layOut(rows)
    const slot = this.takeSlot()
    const free = () => this.freeSlots.push(slot)
    try {
      const timing = await this.run(() => this.session.perceive({ ...batch.input, slot }), signal)
      return new TensorRtPrefix(
        this,
        slot,
        Array.from(batch.input.lengths, Number),
        this.stateOf(rows),
        timing,
        free,
      )
    } catch (error) {
      free()
      throw error
    }
  }

  async act(prefix: Prefix, sampling: readonly Sampling[], { signal }: RunOptions = {}): Promise<ActResult> {
    if (!(prefix instanceof TensorRtPrefix) || prefix.owner !== this)
      throw refuse('the prefix was made by another runtime')
    if (prefix.released) throw refuse('the prefix has been released')
    const input = this.actInput(prefix.slot, prefix.batch, prefix.state, sampling)
    const { steps } = input
    await this.prepare(steps)
    const { actions, denoiseMs } = await this.run(() => this.session.act(input), signal)
    return { actions, stepMs: Array<number>(steps).fill(denoiseMs / steps) }
  }

  async trace(
    rows: readonly PerceiveRow[],
    sampling: readonly Sampling[],
  ): Promise<InferenceTrace & ActResult> {
    const batch = this.layOut(rows)
    const { width } = this.info.config.prefix
    const { headDim, imageTokens } = this.session.shape
    const slot = this.takeSlot()
    try {
      const input = this.actInput(slot, rows.length, this.stateOf(rows), sampling)
      const { steps } = input
      await this.prepare(steps)
      const start = performance.now()
      const traced = await this.run(() => this.session.trace({ ...batch.input, ...input }))
      const ms = performance.now() - start
      const crop = (cache: Float32Array) => cropped(cache, batch.input, batch.positions, headDim)
      return {
        imageEmbeddings: traced.imageEmbeddings.subarray(0, batch.pictures * imageTokens * width),
        keys: traced.keys.map(crop),
        values: traced.values.map(crop),
        x: traced.x,
        velocity: traced.velocity,
        actions: traced.actions,
        stepMs: Array<number>(steps).fill(ms / steps),
      }
    } finally {
      this.freeSlots.push(slot)
    }
  }

  async close(): Promise<void> {
    await this.session.close()
  }

  private layOut(rows: readonly PerceiveRow[]): EngineBatch {
    const { maxBatch } = this.info
    if (rows.length < 1 || rows.length > maxBatch)
      throw refuse(`perceive takes 1 to ${maxBatch} rows, got ${rows.length}`)
    return engineBatch(rows, this.info, this.session.shape.tokenBuckets)
  }

  private takeSlot(): number {
    const slot = this.freeSlots.pop()
    if (slot === undefined)
      throw refuse(`all ${this.info.prefixSlots} prefix slots are in use; release one first`)
    return slot
  }

  private stateOf(rows: readonly PerceiveRow[]): Float32Array {
    if (!this.session.shape.state) return new Float32Array(0)
    const { actionDim } = this.info.config
    const state = new Float32Array(rows.length * actionDim)
    for (const [index, row] of rows.entries()) state.set(row.state!, index * actionDim)
    return state
  }

  private actInput(
    slot: number,
    batch: number,
    state: Float32Array,
    sampling: readonly Sampling[],
  ): NativeAct {
    const { actionHorizon, actionDim } = this.info.config
    checkSampling(sampling, batch, this.info.config)
    const noise = drawNoise(sampling, actionHorizon * actionDim)
    return { slot, batch, steps: sampling[0]!.steps, noise, state }
  }

  /** Sends the modulation of a step count, once. A failure is not kept: the next call tries again. */
  private prepare(steps: number): Promise<void> {
    const known = this.prepared.get(steps)
    if (known) return known
    const sent = this.modulationTable(steps).then(table =>
      this.run(() => this.session.setModulation({ steps, table })),
    )
    this.prepared.set(steps, sent)
    sent.catch(() => this.prepared.delete(steps))
    return sent
  }

  /** The end of a native call, as this room's errors; an aborted signal takes out what has not started. */
  private async run<T>(call: () => NativeJob<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) throw CALLER_LEFT
    let abort = () => {}
    try {
      const { job, promise } = call()
      abort = () => this.session.cancel(job)
      signal?.addEventListener('abort', abort, { once: true })
      const result = await promise
      if (signal?.aborted) throw CALLER_LEFT
      return result
    } catch (error) {
      throw error instanceof TurboPiError ? error : fromNative(error as NativeError, signal)
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }
}

function fromNative(error: NativeError, signal: AbortSignal | undefined): TurboPiError {
  if (signal?.aborted) return CALLER_LEFT
  if (error.status === 'cancelled') return new TurboPiError('SHUTTING_DOWN', 'the runtime is closed')
  const hint = error.hint ? ` ${error.hint[0]!.toUpperCase()}${error.hint.slice(1)}.` : ''
  return new TurboPiError('RUNTIME_FAILED', `TensorRT runtime: ${reasonOf(error)}.${hint}`, { cause: error })
}
