import { statSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { TurboPiError } from '../../errors.js'
import { fingerprintOf, isLowered, loweredDirectory, WEIGHTS_FILE } from '../../families/lowered-model.js'
import type { ModelConfig, Precision } from '../../families/pi0/config.js'
import { checkSampling, type Sampling } from '../../families/pi0/sampling.js'
import { variantOf } from '../../families/pi0/variant.js'
import { cacheDirectory } from '../../storage/cache.js'
import { layerCapacity, layOut } from '../prefix-layout.js'
import type {
  ActResult,
  InferenceTrace,
  PerceiveRow,
  Prefix,
  RunOptions,
  Runtime,
  RuntimeInfo,
} from '../runtime.js'
import { startWorker } from '../worker-thread.js'
import { FLOATS, type Float, widened } from './floats.js'
import { Lane, type Slot } from './lane.js'
import { physicalCores } from './processor.js'
import type { ActReply, PerceiveReply } from './protocol.js'

export interface CpuRuntimeOptions {
  /** A safetensors file or the index of a sharded one. */
  weightsPath: string
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
  /** Hears bytes written while a checkpoint is lowered for the first time. */
  onProgress?: (done: number, total: number) => void
  /** Gives up starting: rejects with REQUEST_CANCELLED, and leaves no half-written cache. */
  signal?: AbortSignal
}

/** From this size on, a second copy of float32 weights costs more than their rearrangement gains. */
const MAPPED_BYTES = 2 ** 32

const refuse = (detail: string) => new TurboPiError('RUNTIME_FAILED', detail)

/** The K/V of a batch in a slot. */
class CpuPrefix implements Prefix {
  constructor(
    readonly owner: CpuRuntime,
    readonly slot: Slot,
    readonly lengths: readonly number[],
    readonly state: Float32Array | undefined,
    readonly reply: PerceiveReply,
    private readonly free: () => void,
  ) {}

  released = false

  get batch(): number {
    return this.lengths.length
  }

  get timing() {
    return { visionMs: this.reply.visionMs, prefixMs: this.reply.prefixMs }
  }

  get images() {
    return { encoded: this.reply.encoded, reused: this.reply.reused }
  }

  release(): void {
    if (this.released) return
    this.released = true
    this.free()
  }
}

class CpuRuntime implements Runtime {
  private readonly freeSlots: Slot[]
  private readonly slotBytes: number

  constructor(
    readonly info: RuntimeInfo,
    private readonly float: Float,
    private readonly perceiveLane: Lane,
    private readonly actLane: Lane,
  ) {
    const { config, maxBatch, prefixSlots } = info
    this.slotBytes =
      layerCapacity(config, maxBatch) * 2 * config.prefix.depth * FLOATS[float].BYTES_PER_ELEMENT
    this.freeSlots = Array.from({ length: prefixSlots }, () => ({ buffer: undefined }))
  }

  perceive(rows: readonly PerceiveRow[], options: RunOptions = {}): Promise<Prefix> {
    return this.fillPrefix(rows, options, false)
  }

  private async fillPrefix(
    rows: readonly PerceiveRow[],
    options: RunOptions,
    trace: boolean,
  ): Promise<CpuPrefix> {
    const { config, maxBatch, prefixSlots } = this.info
    if (rows.length < 1 || rows.length > maxBatch)
      throw refuse(`perceive takes 1 to ${maxBatch} rows, got ${rows.length}`)
    const layout = layOut(rows, config)
    const slot = this.freeSlots.pop()
    if (!slot) throw refuse(`all ${prefixSlots} prefix slots are in use; release one first`)
    const free = () => this.freeSlots.push(slot)
    // The system commits memory only where a batch has written.
    slot.buffer ??= new ArrayBuffer(this.slotBytes)
    try {
      const gives = layout.images.buffer
      const reply = await this.perceiveLane.call(
        { kind: 'perceive', layout, trace },
        { ...options, slot, gives },
      )
      const state = variantOf(config).stateToken ? joined(rows.map(row => row.state!)) : undefined
      return new CpuPrefix(this, slot, Array.from(layout.lengths, Number), state, reply, free)
    } catch (error) {
      free()
      throw error
    }
  }

  async act(prefix: Prefix, sampling: readonly Sampling[], options: RunOptions = {}): Promise<ActResult> {
    const { actions, stepMs } = await this.denoise(prefix, sampling, options, false)
    return { actions, stepMs }
  }

  private async denoise(
    prefix: Prefix,
    sampling: readonly Sampling[],
    options: RunOptions,
    trace: boolean,
  ): Promise<ActReply> {
    if (!(prefix instanceof CpuPrefix) || prefix.owner !== this)
      throw refuse('the prefix was made by another runtime')
    if (prefix.released) throw refuse('the prefix has been released')
    if (!prefix.slot.buffer) throw refuse('the prefix is in use by another call, or was lost with its worker')
    checkSampling(sampling, prefix.batch, this.info.config)
    return this.actLane.call(
      {
        kind: 'act',
        batch: prefix.batch,
        positions: Math.max(...prefix.lengths),
        lengths: BigInt64Array.from(prefix.lengths, BigInt),
        sampling,
        ...(prefix.state && { state: prefix.state }),
        trace,
      },
      { ...options, slot: prefix.slot },
    )
  }

  async trace(
    rows: readonly PerceiveRow[],
    sampling: readonly Sampling[],
  ): Promise<InferenceTrace & ActResult> {
    const prefix = await this.fillPrefix(rows, {}, true)
    try {
      const { actions, stepMs, x, velocity } = await this.denoise(prefix, sampling, {}, true)
      const { depth, kvHeads, headDim } = this.info.config.prefix
      const { buffer } = prefix.slot
      const partBytes = this.slotBytes / (2 * depth)
      const size = prefix.batch * kvHeads * Math.max(...prefix.lengths) * headDim
      const copy = (index: number) =>
        widened(new FLOATS[this.float](buffer!, index * partBytes, size).slice())
      const layers = Array.from({ length: depth }, (_, l) => l)
      return {
        imageEmbeddings: prefix.reply.imageEmbeddings!,
        keys: layers.map(l => copy(2 * l)),
        values: layers.map(l => copy(2 * l + 1)),
        x,
        velocity,
        actions,
        stepMs,
      }
    } finally {
      prefix.release()
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.perceiveLane.close(), this.actLane.close()])
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let position = 0
  for (const part of parts) {
    whole.set(part, position)
    position += part.length
  }
  return whole
}

/**
 * Runs the network on the CPU, in worker threads: nothing is loaded, lowered or computed on the calling thread. The first
 * start with a checkpoint lowers it into the cache; later ones find it there. Throws CHECKPOINT_INVALID, CACHE_FAILED or
 * RUNTIME_FAILED.
 */
export async function createCpuRuntime(options: CpuRuntimeOptions): Promise<Runtime> {
  const { weightsPath, config, precision = 'fp32', lanes = 1, maxBatch = 8, prefixSlots = 2 } = options
  const { visionCache = 0 } = options
  const emulated = precision === 'bf16' || (precision === 'fp16' && options.emulated === true)
  const float = precision === 'fp16' && !emulated ? 'float16' : 'float32'
  const { threads = Math.max(1, Math.floor(physicalCores() / lanes)) } = options
  const source = { weightsPath, config, precision, emulated }
  const fingerprint = fingerprintOf(source)
  const directory = loweredDirectory(fingerprint, options.cache ?? cacheDirectory())
  const start = () => startWorker('worker', import.meta.url)
  const perceiveLane = new Lane(start)
  const actLane = lanes === 1 ? perceiveLane : new Lane(start)
  const starting = {
    ...(options.signal && { signal: options.signal }),
    ...(options.onProgress && { onProgress: options.onProgress }),
  }
  try {
    if (!isLowered(directory))
      await perceiveLane.call({ kind: 'lower', source, fingerprint, directory }, options)
    const mapped = precision === 'fp32' && statSync(join(directory, WEIGHTS_FILE)).size >= MAPPED_BYTES
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
    throw error
  }
  const device = `${cpus()[0]?.model.trim() ?? 'CPU'}, ${threads * lanes} threads${emulated ? `, ${precision} emulated` : ''}`
  return new CpuRuntime(
    { backend: 'cpu', device, precision, maxBatch, lanes, prefixSlots, fingerprint, config },
    float,
    perceiveLane,
    actLane,
  )
}
