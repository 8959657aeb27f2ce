import { TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import type { Precision } from '../onnx/arithmetic.js'
import type { OnStage } from '../storage/stage.js'
import type { Devices } from './devices.js'
import type { Runtime } from './runtime.js'

export { type OnStage, percentOf, type Stage } from '../storage/stage.js'

/** What a machine lacks, and what mends it. */
export interface Missing {
  reason: string
  hint?: string
}

/** Whether this machine has what a backend needs; `found` is for the log and for /metadata: "TensorRT 10.13 is there". */
export type Availability =
  | {
      available: true
      found?: string
      /** Why `auto` takes the next backend rather than this one where it is there, too. */
      slow?: string
    }
  | ({ available: false } & Missing)

/** RUNTIME_UNAVAILABLE in one paragraph. */
export function unavailable(title: string, { reason, hint }: Missing): TurboPiError {
  const mend = hint ? ` To mend it: ${hint}.` : ''
  return new TurboPiError(
    'RUNTIME_UNAVAILABLE',
    `The ${title} runtime is not available: ${reason}.${mend} Nothing else is served in its place; --runtime cpu serves without a GPU.`,
  )
}

/** What a backend is opened with. Everything is decided: nothing is `auto`. */
export interface BackendOptions {
  /** A safetensors file or the index of a sharded one. */
  weightsPath: string
  /** Folder of a PEFT adapter to merge into the weights. */
  adapterPath?: string | undefined
  config: ModelConfig
  precision: Precision
  /** Cards to compute on, of backends that have several. */
  devices?: Devices
  /** 2: perceive and act may run at the same time, on different prefixes. */
  lanes: 1 | 2
  /** Rows of one perceive call. */
  maxBatch: number
  /** Where lowered models and engines are kept. */
  cache: string
  /** Why this backend, when the choice was left to `auto`. */
  chosen?: string
  /** On the CPU, of 16-bit precisions: rounds after every operation. */
  emulated?: boolean
  /** On the CPU, all lanes together; 0: one a physical core. */
  threads?: number
  /** Images whose embeddings are kept for when they are seen again, where the backend can; default 0. */
  visionCache?: number
  /** Rows whose prefix is kept for when they are seen again, where the backend can; default 0. */
  prefixCache?: number
  /** Hears what the start is at. */
  onStage?: OnStage
  /** Hears, in sentences, that the cache was damaged, what is built and why, and how it was judged. */
  onNotice?: (text: string) => void
  /** Cancels the start. */
  signal?: AbortSignal
  /** Makes the float32 runtime that a backend's results must agree with before it may serve. */
  reference: (maxBatch: number) => Promise<Runtime>
}

/** A row of the table of backends (backends.ts): everything that the rest of the house knows of one. */
export interface Backend {
  /** As `--runtime` takes it. */
  readonly name: string
  /** As sentences call it. */
  readonly title: string
  /** What it computes in; the first one is what `auto` stands for. */
  readonly arithmetics: readonly [Precision, ...Precision[]]
  /** Lanes that it can have; the first number is what `--pipeline auto` stands for. */
  readonly lanes: readonly [1 | 2, ...(1 | 2)[]]
  /** Whether it can compute on other cards than the first. */
  readonly severalCards?: true
  probe(): Promise<Availability>
  /** Why it cannot serve this checkpoint; `auto` passes it over then. Absent where it serves all. */
  refuses?(model: Pick<BackendOptions, 'weightsPath' | 'adapterPath'>): string | undefined
  /** Makes what it serves from ahead of time, and says what is ready; absent where there is nothing to build. */
  build?(options: BackendOptions): Promise<string>
  /** Throws RUNTIME_UNAVAILABLE or RUNTIME_FAILED, and what lowering throws. */
  open(options: BackendOptions): Promise<Runtime>
}
