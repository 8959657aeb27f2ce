import { CALLER_LEFT } from '../../cancellation.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import type { Sampling } from '../../families/pi0/sampling.js'
import { denoiseInputs } from '../denoise-inputs.js'
import { joined, layOut, type PrefixLayout } from '../prefix-layout.js'
import type { ActResult, InferenceTrace, PerceiveRow, RunOptions, RuntimeInfo } from '../runtime.js'
import { type Held, type Perceived, SlotRuntime } from '../slots.js'
import type { NativeAct, NativeError, NativeJob, NativeSession } from './addon.js'
import { cropped, engineBatch } from './batch.js'
import { KeptRows, type SharedRows } from './kept-rows.js'

/** A slot of the session. */
interface Slot {
  readonly number: number
  /** What its batch shares with others, where rows are kept. */
  shared?: SharedRows | undefined
}

/** All rows of a slot in their order, as pairs of slot and row. */
const wholeSlot = (slot: number, batch: number): number[] =>
  Array.from({ length: 2 * batch }, (_, i) => (i % 2 === 0 ? slot : (i - 1) / 2))

/**
 * Runs the network through a session of the native addon: stages, CUDA graphs and streams are its business; padding and
 * the modulation table are decided here. After a device fault every call fails with the first reason.
 */
export class GpuRuntime extends SlotRuntime<Slot> {
  broken: TurboPiError | undefined
  /** Step counts whose modulation was sent, or is on its way. */
  private readonly prepared = new Map<number, Promise<void>>()
  private readonly kept: KeptRows | undefined

  /** `title` names the backend in errors; `modulationTable` gives [steps, modulation] of a step count. */
  constructor(
    info: RuntimeInfo,
    private readonly title: string,
    private readonly session: NativeSession,
    private readonly modulationTable: (steps: number) => Promise<Float32Array>,
    /** Called when it is closed: what it was loaded from may be pruned. */
    private readonly releaseFiles: () => void,
    /** Places of the session's store of rows. */
    kept = 0,
  ) {
    super(
      info,
      Array.from({ length: info.prefixSlots }, (_, number) => ({ number })),
    )
    this.kept = kept > 0 ? new KeptRows(kept) : undefined
  }

  protected async fill(
    slot: Slot,
    { rows, layout }: { rows: readonly PerceiveRow[]; layout: PrefixLayout },
    { signal }: RunOptions,
  ): Promise<Perceived> {
    const shared = this.kept?.share(rows)
    slot.shared = shared
    const fresh = shared?.fresh ?? rows
    const reused = shared && { reused: rows.length - fresh.length }
    if (fresh.length === 0) return { timing: { visionMs: 0, prefixMs: 0 }, ...reused }
    const { input } = this.padded(fresh.length === rows.length ? layout : layOut(fresh, this.info.config))
    const keep = shared && { keep: shared.keep }
    const call = () => this.session.perceive({ ...input, slot: slot.number, ...keep })
    const timing = await this.run(call, signal)
    shared?.perceived()
    return { timing, ...reused }
  }

  protected override vacate(slot: Slot): void {
    slot.shared?.release()
    slot.shared = undefined
  }

  protected async denoise(
    held: readonly Held<Slot>[],
    sampling: readonly Sampling[],
    { signal }: RunOptions,
  ): Promise<ActResult> {
    const rows = Int32Array.from(held.flatMap(({ slot, batch }) => this.rowsOf(slot, batch)))
    const input = { ...this.actInput(statesOf(held), sampling), rows }
    const { steps } = input
    await this.prepare(steps)
    const { actions, denoiseMs } = await this.run(() => this.session.act(input), signal)
    return { actions, stepMs: Array<number>(steps).fill(denoiseMs / steps) }
  }

  protected async traceIn(
    { number: slot }: Slot,
    layout: PrefixLayout,
    sampling: readonly Sampling[],
  ): Promise<InferenceTrace & ActResult> {
    const { headDim, imageTokens } = this.session.shape
    const { input, positions, pictures } = this.padded(layout)
    const act = this.actInput(layout.state, sampling)
    await this.prepare(act.steps)
    const start = performance.now()
    const traced = await this.run(() => this.session.trace({ ...input, ...act, slot }))
    const ms = performance.now() - start
    const crop = (cache: Float32Array) => cropped(cache, input, positions, headDim)
    return {
      imageEmbeddings: traced.imageEmbeddings.subarray(
        0,
        pictures * imageTokens * this.info.config.prefix.width,
      ),
      keys: traced.keys.map(crop),
      values: traced.values.map(crop),
      x: traced.x,
      velocity: traced.velocity,
      actions: traced.actions,
      stepMs: Array<number>(act.steps).fill(ms / act.steps),
    }
  }

  async close(): Promise<void> {
    await this.session.close()
    this.releaseFiles()
  }

  private rowsOf({ number, shared }: Slot, batch: number): number[] {
    return shared?.rowsIn(number, this.info.prefixSlots) ?? wholeSlot(number, batch)
  }

  private padded(layout: PrefixLayout) {
    return engineBatch(layout, this.info.config, this.session.shape.tokenBuckets)
  }

  private actInput(
    state: Float32Array = new Float32Array(0),
    sampling: readonly Sampling[],
  ): Omit<NativeAct, 'rows'> {
    return { batch: sampling.length, ...denoiseInputs(sampling, this.info.config), state }
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
      throw error instanceof TurboPiError ? error : this.fromNative(error as NativeError, signal)
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  private fromNative(error: NativeError, signal: AbortSignal | undefined): TurboPiError {
    if (signal?.aborted) return CALLER_LEFT
    if (error.status === 'cancelled') return new TurboPiError('SHUTTING_DOWN', 'the runtime is closed')
    const code = error.status === 'exhausted' ? 'OUT_OF_MEMORY' : 'RUNTIME_FAILED'
    const hint = error.hint ? ` ${error.hint[0]!.toUpperCase()}${error.hint.slice(1)}.` : ''
    const told = new TurboPiError(code, `${this.title} runtime: ${reasonOf(error)}.${hint}`, { cause: error })
    if (error.status === 'failed') this.broken ??= told
    return told
  }
}

/** The states of held batches, one after another; undefined where the network takes none. */
function statesOf(held: readonly Held<Slot>[]): Float32Array | undefined {
  const states = held.flatMap(({ state }) => state ?? [])
  return states.length > 0 ? joined(states) : undefined
}
