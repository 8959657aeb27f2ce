import { TurboPiError } from '../errors.js'
import type { ModelConfig, Precision } from '../model/config.js'
import { createCpuRuntime } from './cpu/cpu-runtime.js'
import type { Runtime } from './runtime.js'

/** What a runtime is made for. */
export interface RuntimeModel {
  /** A safetensors file or the index of a sharded one. */
  weightsPath: string
  model: ModelConfig
}

export interface RuntimeSettings {
  runtime: 'auto' | 'cpu' | 'tensorrt' | 'tensorrt_pipelined'
  /** auto: fp32 on the CPU. */
  precision: 'auto' | Precision
  /** fp16 on the CPU, for verification: rounds after every operation. */
  emulated?: boolean
  /** All lanes together; 0: one a physical core. */
  threads: number
  /** auto: off on the CPU. */
  pipeline: 'auto' | 'on' | 'off'
  maxBatch: number
  /** Images whose embeddings are kept for when they are seen again; default 0. */
  visionCache?: number
  /** Default: $TURBO_PI_CACHE, else ~/.cache/turbo-pi. */
  cacheDir?: string | undefined
  onProgress?: (done: number, total: number) => void
  /** Cancels the start. */
  signal?: AbortSignal
}

/** Makes the runtime that the settings ask for, and no other: RUNTIME_UNAVAILABLE says why it cannot be had. */
export async function createRuntime(
  { weightsPath, model }: RuntimeModel,
  settings: RuntimeSettings,
): Promise<Runtime> {
  const { runtime, precision, emulated, threads, pipeline, maxBatch, cacheDir, onProgress, signal } = settings
  if (runtime !== 'auto' && runtime !== 'cpu')
    throw new TurboPiError(
      'RUNTIME_UNAVAILABLE',
      `--runtime ${runtime}: this build has the CPU runtime alone.`,
    )
  const lanes = pipeline === 'on' ? 2 : 1
  return createCpuRuntime({
    weightsPath,
    config: model,
    precision: precision === 'auto' ? 'fp32' : precision,
    ...(emulated && { emulated }),
    lanes,
    maxBatch,
    ...(threads > 0 && { threads: Math.max(1, Math.floor(threads / lanes)) }),
    ...(settings.visionCache !== undefined && { visionCache: settings.visionCache }),
    ...(cacheDir !== undefined && { cache: cacheDir }),
    ...(onProgress && { onProgress }),
    ...(signal && { signal }),
  })
}
