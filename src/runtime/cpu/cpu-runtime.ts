import { cpus } from 'node:os'
import { TurboPiError } from '../../errors.js'
import { WEIGHTS_FILE } from '../../families/lowered-model.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import type { Sampling } from '../../families/pi0/sampling.js'
import { ARITHMETICS, type Precision } from '../../onnx/arithmetic.js'
import { cacheDirectory } from '../../storage/cache.js'
import { contentDigest } from '../../storage/content.js'
import { markStart } from '../../storage/entries.js'
import type { OnStage } from '../../storage/stage.js'
import { markUse } from '../../storage/use.js'
import { startWorker } from '../../worker-thread.js'
import { weightBytes } from '../memory.js'
import { locateOnnxRuntime } from '../onnxruntime.js'
import { layerCapacity, type PrefixLayout } from '../prefix-layout.js'
import type { ActResult, InferenceTrace, RunOptions, Runtime, RuntimeInfo } from '../runtime.js'
import { type Held, type Perceived, SlotRuntime } from '../slots.js'
import { FLOATS, type Float, widened } from './floats.js'
import { Lane, type Slot } from './lane.js'
import { physicalCores } from './processor.js'
import type { ActReply } from './protocol.js'

export interface CpuRuntimeOptions {
  /** A safetensors file or the index of a sharded one. */
  weightsPath: string
  /** Folder of a PEFT adapter to merge into the weights. */
  adapterPath?: string | undefined
  config: ModelConfig
  /** Default fp32. */
  precision?: Precision
  /**
   * 16-bit precisions, for verification: computes in float32 and rounds after every operation. ONNX Runtime takes float16
   * graphs as they are, and keeps float32 where it can; bfloat16 it cannot multiply, so that bf16 is always emulated.
   */
  emulated?: boolean
  /** Threads of one lane; default: the physical cores, shared between the lanes. */
  threads?: number
  /** 1: one worker does all. 2: one perceives while another acts. Default 1. */
  lanes?: 1 | 2
  /** Rows of one perceive call, default 8. */
  maxBatch?: number
  /** Prefixes held at once, default 2. */
  prefixSlots?: number
  /** Images whose embeddings are kept for when they are seen again; default 0. */
  visionCache?: number
  /** Where lowered models are kept; default `$TURBO_PI_CACHE`, else `~/.cache/turbo-pi`. */
  cache?: string
  /** Why this backend, when the choice was left to `auto`. */
  chosen?: string
  /** Hears what the start is at. */
  onStage?: OnStage
  /** Hears, in sentences, that the cached model was damaged; a warning of the process by default. */
  onNotice?: (text: string) => void
  /** Gives up starting: rejects with REQUEST_CANCELLED, and leaves no half-written cache. */
  signal?: AbortSignal
}

/** From this size on, a second copy of float32 weights costs more than their rearrangement gains. */
const MAPPED_BYTES = 2 ** 32

class CpuRuntime extends SlotRuntime<Slot> {
  private readonly slotBytes: number

  constructor(
    info: RuntimeInfo,
    private readonly float: Float,
    private readonly perceiveLane: Lane,
    private readonly actLane: Lane,
    /** The cached model may be pruned. */
    private readonly releaseModel: () => void,
  ) {
    const { config, maxBatch, prefixSlots } = info
    super(
      info,
      Array.from({ length: prefixSlots }, () => ({ buffer: undefined })),
    )
    this.slotBytes =
      layerCapacity(config, maxBatch) * 2 * config.prefix.depth * FLOATS[float].BYTES_PER_ELEMENT
  }

  protected async fill(
    slot: Slot,
    { layout }: { layout: PrefixLayout },
    options: RunOptions,
  ): Promise<Perceived> {
    const { visionMs, prefixMs, encoded, reused } = await this.perceiveInto(slot, layout, options, false)
    return { timing: { visionMs, prefixMs }, images: { encoded, reused } }
  }

  private perceiveInto(slot: Slot, layout: PrefixLayout, options: RunOptions, trace: boolean) {
    // The system commits memory only where a batch has written.
    slot.buffer ??= new ArrayBuffer(this.slotBytes)
    const gives = layout.images.buffer
    return this.perceiveLane.call({ kind: 'perceive', layout, trace }, { ...options, slot, gives })
  }

  protected async denoise(
    [held]: readonly Held<Slot>[],
    sampling: readonly Sampling[],
    options: RunOptions,
  ): Promise<ActResult> {
    const { actions, stepMs } = await this.actOn(held!, sampling, options, false)
    return { actions, stepMs }
  }

  private actOn(
    { slot, batch, lengths, state }: Held<Slot>,
    sampling: readonly Sampling[],
    options: RunOptions,
    trace: boolean,
  ): Promise<ActReply> {
    if (!slot.buffer)
      throw new TurboPiError(
        'RUNTIME_FAILED',
        'the prefix is in use by another call, or was lost with its worker',
      )
    return this.actLane.call(
      {
        kind: 'act',
        batch,
        positions: Math.max(...lengths),
        lengths: BigInt64Array.from(lengths, BigInt),
        sampling,
        ...(state && { state }),
        trace,
      },
      { ...options, slot },
    )
  }

  protected async traceIn(
    slot: Slot,
    layout: PrefixLayout,
    sampling: readonly Sampling[],
  ): Promise<InferenceTrace & ActResult> {
    const { batch, positions, state } = layout
    const { imageEmbeddings } = await this.perceiveInto(slot, layout, {}, true)
    const held = { slot, batch, lengths: Array.from(layout.lengths, Number), state }
    const { actions, stepMs, x, velocity } = await this.actOn(held, sampling, {}, true)
    const { depth, kvHeads, headDim } = this.info.config.prefix
    const partBytes = this.slotBytes / (2 * depth)
    const size = batch * kvHeads * positions * headDim
    const copy = (index: number) =>
      widened(new FLOATS[this.float](slot.buffer!, index * partBytes, size).slice())
    const layers = Array.from({ length: depth }, (_, l) => l)
    return {
      imageEmbeddings: imageEmbeddings!,
      keys: layers.map(l => copy(2 * l)),
      values: layers.map(l => copy(2 * l + 1)),
      x,
      velocity,
      actions,
      stepMs,
    }
  }

  async renew(lane: 'perceive' | 'act'): Promise<void> {
    const { config, precision } = this.info
    const needed = weightBytes(config, precision)
    const available = process.availableMemory()
    if (needed > available)
      throw new TurboPiError(
        'ENGINE_HUNG',
        `Another worker would need ${needed} bytes, and ${available} are free: only a new process helps.`,
      )
    await (lane === 'perceive' ? this.perceiveLane : this.actLane).replace()
  }

  async close(): Promise<void> {
    const ended = await Promise.allSettled([this.perceiveLane.close(), this.actLane.close()])
    this.releaseModel()
    for (const end of ended) if (end.status === 'rejected') throw end.reason
  }
}

/**
 * Runs the network on the CPU, in worker threads: nothing is loaded, lowered or computed on the calling thread. The first
 * start with a checkpoint lowers it into the cache; later ones find it there. Throws CHECKPOINT_INVALID, CACHE_FAILED or
 * RUNTIME_FAILED.
 */
export async function createCpuRuntime(options: CpuRuntimeOptions): Promise<Runtime> {
  locateOnnxRuntime()
  const {
    weightsPath,
    adapterPath,
    config,
    precision = 'fp32',
    lanes = 1,
    maxBatch = 8,
    prefixSlots = 2,
  } = options
  const { visionCache = 0 } = options
  const { activations } = ARITHMETICS[precision]
  const emulated = activations === 'bfloat16' || (activations === 'float16' && options.emulated === true)
  const float = activations === 'float16' && !emulated ? 'float16' : 'float32'
  const { threads = Math.max(1, Math.floor(physicalCores() / lanes)) } = options
  const source = { weightsPath, adapterPath, config, precision, emulated }
  const cache = options.cache ?? cacheDirectory()
  const start = () => startWorker('worker', import.meta.url)
  const perceiveLane = new Lane(start)
  const actLane = lanes === 1 ? perceiveLane : new Lane(start)
  const starting = {
    ...(options.signal && { signal: options.signal }),
  }
  const looking = markStart(cache)
  let release = () => {}
  let weights: string
  try {
    const { directory, model } = await perceiveLane.call(
      { kind: 'lower', source, cache },
      { onNotice: text => process.emitWarning(text), ...options },
    )
    release = markUse(directory)
    looking()
    options.onStage?.({ name: 'opening the engine' })
    weights = contentDigest(model.content)
    const mapped = precision === 'fp32' && model.files[WEIGHTS_FILE]!.bytes >= MAPPED_BYTES
    const load = { kind: 'load', directory, config, float, threads, mapped, visionCache } as const
    if (lanes === 1)
      await perceiveLane.prepare({ ...load, graphs: ['vision', 'prefix', 'modulation', 'denoise'] }, starting)
    else
      await Promise.all([
        perceiveLane.prepare({ ...load, graphs: ['vision', 'prefix'] }, starting),
        actLane.prepare({ ...load, graphs: ['modulation', 'denoise'] }, starting),
      ])
  } catch (error) {
    await Promise.all([perceiveLane.close(), actLane.close()])
    release()
    looking()
    throw error
  }
  const device = `${cpus()[0]?.model.trim() ?? 'CPU'}, ${threads * lanes} threads${emulated ? `, ${precision} emulated` : ''}`
  const { chosen } = options
  const info = {
    backend: 'cpu',
    device,
    precision,
    maxBatch,
    lanes,
    prefixSlots,
    joins: false,
    weights,
    config,
  }
  return new CpuRuntime(
    chosen === undefined ? info : { ...info, chosen },
    float,
    perceiveLane,
    actLane,
    release,
  )
}
