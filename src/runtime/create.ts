import type { ModelConfig, Precision } from '../model/config.js'
import { createCpuRuntime } from './cpu/cpu-runtime.js'
import type { Runtime } from './runtime.js'
import { probe } from './tensorrt/addon.js'
import { createTensorRtRuntime } from './tensorrt/create.js'

/** What a runtime is made for. */
export interface RuntimeModel {
  /** A safetensors file or the index of a sharded one. */
  weightsPath: string
  model: ModelConfig
}

export interface RuntimeSettings {
  /** auto: tensorrt_pipelined where TensorRT runs, else cpu; `onNotice` hears which and why. */
  runtime: 'auto' | 'cpu' | 'tensorrt' | 'tensorrt_pipelined'
  /** auto: fp32 on the CPU, bf16 on a GPU. */
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
  /** Hears, in sentences, what was chosen and why engines are built. */
  onNotice?: (text: string) => void
  /** Cancels the start. */
  signal?: AbortSignal
}

/** Makes the runtime that the settings ask for, and no other: RUNTIME_UNAVAILABLE says why it cannot be had. */
export async function createRuntime(
  { weightsPath, model }: RuntimeModel,
  settings: RuntimeSettings,
): Promise<Runtime> {
  const { precision, emulated, threads, pipeline, maxBatch, cacheDir, onProgress, onNotice, signal } =
    settings
  const runtime = settings.runtime === 'auto' ? chosen(settings) : settings.runtime
  if (runtime !== 'cpu')
    return createTensorRtRuntime({
      weightsPath,
      config: model,
      precision: precision === 'auto' ? 'bf16' : precision,
      pipelined: runtime === 'tensorrt_pipelined',
      maxBatch,
      ...(cacheDir !== undefined && { cache: cacheDir }),
      ...(onProgress && { onProgress }),
      ...(onNotice && { onNotice }),
      ...(signal && { signal }),
    })
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

function chosen({ onNotice, precision }: RuntimeSettings): 'cpu' | 'tensorrt_pipelined' {
  const found = probe()
  const gpu = found.available && precision !== 'int8'
  onNotice?.(
    gpu
      ? `runtime auto: tensorrt_pipelined on ${found.device}, TensorRT ${found.tensorrtVersion}`
      : `runtime auto: cpu, since ${found.available ? 'int8 runs on CPUs alone' : found.reason}`,
  )
  return gpu ? 'tensorrt_pipelined' : 'cpu'
}
