import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '../../errors.js'

/** What the addon finds on this machine; everything up to the first missing piece is filled in. */
export interface NativeProbe {
  available: boolean
  /** TensorRT version of the headers that the addon was compiled with. */
  headers: string
  driver?: string
  device?: string
  /** Cards that the process sees. */
  devices?: number
  computeCapability?: string
  memoryBytes?: number
  tensorrtVersion?: string
  reason?: string
  hint?: string
}

export type EngineName = 'vision' | 'prefix' | 'denoise'

/** Shapes that one optimization profile takes for one input. */
export interface InputRange {
  tensor: string
  min: readonly number[]
  opt: readonly number[]
  max: readonly number[]
}

/** Where a plan lies and under which key it was, or must have been, built; the addon adds the machine's own fields. */
export interface PlanReference {
  path: string
  key: Readonly<Record<string, string>>
}

export interface BuildRequest {
  graph: EngineName
  onnxPath: string
  planPath: string
  key: Readonly<Record<string, string>>
  profiles: readonly (readonly InputRange[])[]
  optimizationLevel: number
  timingCachePath: string
  device: number
}

export interface NativePerceive {
  slot: number
  batch: number
  imageCount: number
  prefixLength: number
  /** u8 [imageCount, imageSize, imageSize, 3]. */
  images: Uint8Array
  /** [batch × one of the session's token buckets]. */
  tokens: BigInt64Array
  /** [batch, prefixLength]. */
  source: BigInt64Array
  /** [batch]. */
  lengths: BigInt64Array
  /**
   * [batch]: the place in the store of kept rows that each row is copied to, or −1. Absent: none is. A place must not be in
   * use by an act that is under way.
   */
  keep?: Int32Array
}

export interface NativeAct {
  /**
   * [batch, 2]: the slot and the row in it that each row is denoised from; slot `slots` is the store of kept rows. Where the
   * shape does not say `joins`, all rows of one slot in their order.
   */
  rows: Int32Array
  batch: number
  steps: number
  /** [batch, horizon, actionDim]. */
  noise: Float32Array
  /** Factors of x, velocity and target at each step, [steps, batch, horizon, 3]. */
  updates: Float32Array
  /** [batch, horizon, actionDim]. */
  targets: Float32Array
  /** [batch, actionDim] where the model takes a state, else empty. */
  state: Float32Array
}

export interface NativeTrace {
  imageEmbeddings: Float32Array
  keys: Float32Array[]
  values: Float32Array[]
  x: Float32Array[]
  velocity: Float32Array[]
  actions: Float32Array
}

/** A call under way: its number for `cancel`, and its end. Rejections carry a NativeError. */
export interface NativeJob<T> {
  job: number
  promise: Promise<T>
}

/** Sizes that the addon read from the plans. */
export interface NativeShape {
  imageTokens: number
  headDim: number
  kvHeads: number
  layers: number
  horizon: number
  actionDim: number
  /** Floats of one step's modulation. */
  modulation: number
  state: boolean
  /** The denoise graph takes rows that are given. */
  given: boolean
  /** An act takes rows of several slots, and rows can be kept. */
  joins: boolean
  maxBatch: number
  maxImages: number
  maxPrefix: number
  tokenBuckets: number[]
}

export interface NativeSession {
  readonly shape: NativeShape
  perceive(input: NativePerceive): NativeJob<{ visionMs: number; prefixMs: number }>
  act(input: NativeAct): NativeJob<{ actions: Float32Array; denoiseMs: number }>
  /**
   * `table` is [steps, modulation], with one more row, for time 0, where rows may be given; a step count that is set already is
   * left as it is.
   */
  setModulation(input: { steps: number; table: Float32Array }): NativeJob<void>
  /** Denoises the rows that it perceives; none is kept. */
  trace(input: NativePerceive & Omit<NativeAct, 'rows'>): NativeJob<NativeTrace>
  /** False when the job has started. */
  cancel(job: number): boolean
  close(): Promise<void>
  /**
   * For tests of what a server does when a card is gone, there only when TURBO_PI_TEST_HOOKS=1 as the addon is loaded: destroys the
   * context of the card, which no other session may share. Every call of this session fails from then on.
   */
  destroyContext?(): NativeJob<void>
}

/** What a session runs, by the kind of its stages; each backend has its own. */
export interface NativeStages {
  readonly kind: string
}

/** What NVML tells of a card; what the card or its driver does not tell is absent. */
export interface NativeCard {
  /** As CUDA counts cards in this process. */
  device: number
  /** Why nothing could be read. */
  reason?: string
  name?: string
  uuid?: string
  pciBusId?: string
  /** Percent of the last moment in which kernels ran, and in which memory was read or written. */
  utilisation?: number
  memoryUtilisation?: number
  /** Bytes. */
  memoryUsed?: number
  memoryTotal?: number
  celsius?: number
  watts?: number
  /** Why the clocks are lower than they could be: bits of nvmlClocksEventReasons. */
  clockReasons?: number
  /** Since the driver was loaded. */
  eccCorrected?: number
  eccUncorrected?: number
  /** Processes that compute on it, by their numbers. */
  processes?: number[]
}

/** Bytes of device memory that a session of our own kernels allocates when it is opened, by what for. */
export interface NativeMemory {
  /** With what is made of them. */
  weights: number
  /** Keys and values of all prefixes that are held, of the rows that are kept, and of those that an act joins. */
  slots: number
  inputs: number
  workspaces: number
}

export interface NativeSessionOptions {
  stages: NativeStages
  lanes: 1 | 2
  /** Batches whose prefix is held, 1…8. */
  slots: number
  /** Rows that can be kept beyond their slots; more than 0 only where the stages join rows. */
  kept?: number
  device: number
}

export interface NativeAddon {
  probe(device?: number): Promise<NativeProbe>
  /** Rejects when NVML cannot be had; does not hold up the event loop, nor the exit of the process, however long it takes. */
  readCards(devices: readonly number[]): Promise<NativeCard[]>
  /** Why a plan cannot be used here, or '' when it can. Reads the whole file. */
  planMismatch(plan: PlanReference & { device: number }): Promise<string>
  buildPlan(
    request: BuildRequest,
    onProgress: (phase: string, step: number, steps: number) => void,
  ): { promise: Promise<void>; cancel(): void }
  /** What `openSession` would allocate; of an H100 where the card is not there. Neither files nor memory are touched. */
  cudaMemory(options: NativeSessionOptions): Promise<NativeMemory>
  openSession(options: NativeSessionOptions): Promise<NativeSession>
}

/** How the addon rejects. */
export interface NativeError extends Error {
  status: 'invalid' | 'exhausted' | 'failed' | 'cancelled'
  hint: string
}

/** What this machine offers GPU backends, and what is missing. */
export interface GpuProbe extends Omit<NativeProbe, 'headers'> {
  headers?: string
}

const require = createRequire(import.meta.url)
const BUILT = fileURLToPath(new URL('../../../native/build/Release/turbo_pi.node', import.meta.url))
/** The optional package with the addon compiled for this machine (native/pack.mjs). */
const PACKAGE = `@turbo-pi/native-${process.platform}-${process.arch}`

/** Where the addon is: `$TURBO_PI_NATIVE`, else native/build/Release of this package, else the platform's package. */
export function addonPath(built = BUILT, resolve: (file: string) => string = require.resolve): string {
  const given = process.env['TURBO_PI_NATIVE']
  if (given || existsSync(built)) return given || built
  try {
    return resolve(`${PACKAGE}/turbo_pi.node`)
  } catch {
    return built
  }
}

/** Loads the addon, or says why it cannot be had. */
export function loadAddon(path = addonPath()): NativeAddon | { reason: string; hint: string } {
  if (!existsSync(path))
    return {
      reason: `the native addon is not there (${path})`,
      hint: 'install @turbo-pi/native-linux-x64 or -arm64 beside turbo-pi, run npm run build:native in a checkout, or set TURBO_PI_NATIVE to a built turbo_pi.node',
    }
  try {
    return require(path) as NativeAddon
  } catch (error) {
    return {
      reason: `the native addon ${path} could not be loaded: ${reasonOf(error)}`,
      hint: 'build it again on this machine with npm run build:native',
    }
  }
}

/** What this machine offers. Never rejects. */
export async function probe(addon = loadAddon(), device = 0): Promise<GpuProbe> {
  return 'reason' in addon ? { available: false, ...addon } : addon.probe(device)
}
