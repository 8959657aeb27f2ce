import { TurboPiError } from '../errors.js'
import type { ModelConfig, Precision } from '../families/pi0/config.js'
import { createCpuRuntime } from './cpu/cpu-runtime.js'
import { loadAddon, probe, requireTensorRt } from './gpu/addon.js'
import type { Runtime } from './runtime.js'
import type { BuildProgress } from './tensorrt/build.js'
import { createTensorRtRuntime } from './tensorrt/create.js'

/** What a runtime is made for. */
export interface RuntimeModel {
  /** A safetensors file or the index of a sharded one. */
  weightsPath: string
  model: ModelConfig
}

export interface RuntimeSettings {
  /** tensorrt runs one batch after the other, tensorrt_pipelined overlaps two. auto: the latter where it can run. */
  runtime: 'auto' | 'cpu' | 'tensorrt' | 'tensorrt_pipelined'
  /** auto: fp32 on the CPU, bf16 on TensorRT. */
  precision: 'auto' | Precision
  /** fp16 on the CPU, for verification: rounds after every operation. */
  emulated?: boolean
  /** Of the CPU runtime, all lanes together; 0: one a physical core. */
  threads: number
  /** auto: off on the CPU, on where `runtime` is auto and TensorRT can run. */
  pipeline: 'auto' | 'on' | 'off'
  maxBatch: number
  /** Images whose embeddings are kept for when they are seen again; default 0. */
  visionCache?: number
  /** Default: $TURBO_PI_CACHE, else ~/.cache/turbo-pi. */
  cacheDir?: string | undefined
  /** Hears bytes written while a checkpoint is lowered for the first time. */
  onProgress?: (done: number, total: number) => void
  /** Hears how far TensorRT is with an engine. */
  onBuild?: (progress: BuildProgress) => void
  /** Hears, in sentences, what `auto` stands for, why engines are built and how the numeric gate judged them. */
  onNotice?: (text: string) => void
  /** Cancels the start. */
  signal?: AbortSignal
}

/** Throws RUNTIME_UNAVAILABLE when the settings name a runtime that this machine cannot have, before anything is loaded. */
export function requireRuntime({ runtime }: Pick<RuntimeSettings, 'runtime'>): void {
  if (runtime === 'tensorrt' || runtime === 'tensorrt_pipelined') requireTensorRt(loadAddon())
}

/** Makes the runtime that the settings ask for, and no other: RUNTIME_UNAVAILABLE says why it cannot be had. */
export async function createRuntime(model: RuntimeModel, settings: RuntimeSettings): Promise<Runtime> {
  if (settings.runtime === 'auto') {
    const { backend, because, detail } = choose(settings)
    settings.onNotice?.(`runtime auto: ${backend}, since ${because}${detail}`)
    const runtime = await createRuntime(model, { ...settings, runtime: backend })
    runtime.info.chosen = because
    return runtime
  }
  if (settings.runtime === 'cpu') return cpuRuntime(model, settings)
  const contradicted = settings.runtime === 'tensorrt' ? 'on' : 'off'
  if (settings.pipeline === contradicted)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--runtime ${settings.runtime} and --pipeline ${contradicted} contradict each other: tensorrt runs one batch after the other, tensorrt_pipelined overlaps two.`,
    )
  return tensorRtRuntime(model, settings)
}

/** What `auto` stands for on this machine, and why; `detail` may name paths, and is for the log alone. */
function choose({ precision, pipeline }: RuntimeSettings) {
  if (precision === 'int8')
    return { backend: 'cpu', because: 'int8 runs on the CPU alone', detail: '' } as const
  const { available, reason, device, tensorrtVersion } = probe()
  if (!available)
    return { backend: 'cpu', because: 'TensorRT is not available', detail: `: ${reason}` } as const
  const because = `TensorRT ${tensorrtVersion} is there, on ${device}`
  return { backend: pipeline === 'off' ? 'tensorrt' : 'tensorrt_pipelined', because, detail: '' } as const
}

function cpuRuntime({ weightsPath, model }: RuntimeModel, settings: RuntimeSettings): Promise<Runtime> {
  const { precision, emulated, threads, pipeline, maxBatch, visionCache, cacheDir, onProgress, signal } =
    settings
  const lanes = pipeline === 'on' ? 2 : 1
  return createCpuRuntime({
    weightsPath,
    config: model,
    precision: precision === 'auto' ? 'fp32' : precision,
    ...(emulated && { emulated }),
    lanes,
    maxBatch,
    ...(threads > 0 && { threads: Math.max(1, Math.floor(threads / lanes)) }),
    ...(visionCache !== undefined && { visionCache }),
    ...(cacheDir !== undefined && { cache: cacheDir }),
    ...(onProgress && { onProgress }),
    ...(signal && { signal }),
  })
}

function tensorRtRuntime({ weightsPath, model }: RuntimeModel, settings: RuntimeSettings): Promise<Runtime> {
  const { runtime, precision, maxBatch, cacheDir, onProgress, onBuild, onNotice, signal } = settings
  return createTensorRtRuntime({
    weightsPath,
    config: model,
    precision: precision === 'auto' ? 'bf16' : precision,
    pipelined: runtime === 'tensorrt_pipelined',
    maxBatch,
    ...(cacheDir !== undefined && { cache: cacheDir }),
    ...(onProgress && { onProgress }),
    ...(onBuild && { onBuild }),
    ...(onNotice && { onNotice }),
    ...(signal && { signal }),
  })
}
