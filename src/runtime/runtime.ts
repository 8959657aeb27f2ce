import type { TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import type { PerceiveRow } from '../families/pi0/perceive-row.js'
import type { Sampling } from '../families/pi0/sampling.js'
import type { Precision } from '../onnx/arithmetic.js'

export type { PerceiveRow } from '../families/pi0/perceive-row.js'

export interface RuntimeInfo {
  /** Its name in the table of backends. */
  readonly backend: string
  /** Human-readable device, for example the CPU or GPU name. */
  readonly device: string
  /** Cards that it computes on, as CUDA counts them in this process; absent on CPUs. */
  readonly cards?: readonly number[]
  /** Bytes that it takes on a card, by what for, where that is computed beforehand. */
  readonly memory?: Readonly<Record<'weights' | 'slots' | 'inputs' | 'workspaces', number>>
  readonly precision: Precision
  /** Rows that one perceive call may take. */
  readonly maxBatch: number
  /** 2 when perceive and act may run at the same time on different prefixes. */
  readonly lanes: 1 | 2
  /** Prefixes that may be held at once. */
  readonly prefixSlots: number
  /** Whether one act call takes several prefixes. */
  readonly joins: boolean
  /** Digest of the checkpoint's bytes: the same on every machine and backend. */
  readonly weights: string
  readonly config: ModelConfig
  /** Why this backend, when the choice was left to `auto`. */
  readonly chosen?: string
}

/**
 * The K/V of a batch, held by the runtime until released. Only the runtime that made it can use it.
 */
export interface Prefix {
  readonly batch: number
  /** Valid prefix tokens of each row. */
  readonly lengths: readonly number[]
  readonly timing: { readonly visionMs: number; readonly prefixMs: number }
  /** Images encoded for it, and images whose embeddings were kept; absent where none are kept. */
  readonly images?: { readonly encoded: number; readonly reused: number }
  /** Rows of it that were not perceived, since their K/V were kept or another row's; absent where none are kept. */
  readonly reused?: number
  /** Gives the slot back; idempotent, and safe while nothing else runs on it. */
  release(): void
}

export interface ActResult {
  /** Normalised actions [batch, actionHorizon, actionDim]. */
  actions: Float32Array
  /** Milliseconds of each denoise step. */
  stepMs: readonly number[]
}

/** Intermediate tensors, for verification alone. */
export interface InferenceTrace {
  /** Per valid camera of each row, in row then slot order: [tokens, width]. */
  imageEmbeddings: Float32Array
  /** Per layer [batch, kvHeads, longest prefix, headDim], K after RoPE; rows past `lengths` are undefined. */
  keys: Float32Array[]
  values: Float32Array[]
  /** Per step, before the step: [batch, actionHorizon, actionDim]. */
  x: Float32Array[]
  velocity: Float32Array[]
}

export interface RunOptions {
  /** Stops between native calls; the promise rejects with REQUEST_CANCELLED. */
  signal?: AbortSignal
}

/**
 * A backend that runs the three graphs. Calls may overlap as far as `info.lanes` and `info.prefixSlots` allow;
 * the Pipeline sees to that. Errors are TurboPiError RUNTIME_FAILED; after one, the runtime heals itself or every call fails.
 * OUT_OF_MEMORY fails the call alone.
 */
export interface Runtime {
  readonly info: RuntimeInfo
  /** Why every later call fails, too, once only another process helps; undefined before. */
  readonly broken?: TurboPiError | undefined
  /** One for each card, where there are several; the calls below are those of the first one. */
  readonly cards?: readonly Runtime[]
  /** Vision and prefix. Takes 1…maxBatch rows and a free prefix slot. */
  perceive(rows: readonly PerceiveRow[], options?: RunOptions): Promise<Prefix>
  /**
   * Denoises (network §3.7) the rows of one prefix, or where `info.joins` of several together, of at most maxBatch rows:
   * one sampling a row, in the order of the prefixes and of their rows; the rows share their steps. Does not release them.
   */
  act(prefixes: readonly Prefix[], sampling: readonly Sampling[], options?: RunOptions): Promise<ActResult>
  /** perceive and act of one batch with all intermediate tensors. */
  trace(rows: readonly PerceiveRow[], sampling: readonly Sampling[]): Promise<InferenceTrace & ActResult>
  /**
   * Gives up what is under way in a lane whose call does not return, and makes another engine for it. Rejects with ENGINE_HUNG
   * when that cannot be, and has given nothing up then. Absent where only a new process helps.
   */
  renew?(lane: 'perceive' | 'act'): Promise<void>
  /** Rejects with ENGINE_HUNG when a call that was given up has not returned: its thread cannot be ended. */
  close(): Promise<void>
}
