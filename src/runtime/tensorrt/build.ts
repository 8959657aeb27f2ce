import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { calledOff } from '../../cancellation.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { type LoweredModel, readModel } from '../../families/lowered-model.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import { makeDirectory } from '../../storage/make-directory.js'
import type { BuildRequest, EngineName, NativeAddon, PlanReference } from '../gpu/addon.js'
import { buildFailure } from './build-failure.js'
import type { BuildMessage } from './build-process.js'
import { profilesOf, shapesDigest } from './optimization-profiles.js'
import type { BuildSetting } from './settings.js'

export interface BuildOptions {
  addon: NativeAddon
  /** What the engines are shaped for: horizon, prompt length, camera slots. */
  config: ModelConfig
  maxBatch: number
  /** Where plans and the timing cache are kept. */
  output: string
  setting: BuildSetting
  device?: number
  /** Hears what is built, and why a plan that is there is not used; no reason where there is none yet. */
  onBuild?: (engine: EngineName, reason: string | undefined) => void
  /** Builds one engine; a child process by default. */
  builder?: Builder
}

/** `done` of `total` steps of the phase that a build of `part` is in. */
export interface BuildProgress {
  part: EngineName
  phase: string
  done: number
  total: number
}

export type Builder = (
  request: BuildRequest,
  flags: string,
  onProgress: (progress: Omit<BuildProgress, 'part'>) => void,
  signal: AbortSignal | undefined,
) => Promise<void>

export const ENGINES: readonly EngineName[] = ['vision', 'prefix', 'denoise']

/** Model directory → the model that lies there. Throws RUNTIME_UNAVAILABLE. */
export function readExportedModel(directory: string): LoweredModel {
  try {
    return readModel(directory)
  } catch (error) {
    throw new TurboPiError(
      'RUNTIME_UNAVAILABLE',
      `${directory} holds no exported model: ${reasonOf(error)}. Write one with turbo-pi export --output ${directory}.`,
    )
  }
}

/** Where the plans of a model lie, under the keys that they must have been built with. */
export function planReferences(
  directory: string,
  { config, maxBatch, output, setting }: Pick<BuildOptions, 'config' | 'maxBatch' | 'output' | 'setting'>,
): Record<EngineName, PlanReference> {
  const model = readExportedModel(directory)
  const reference = (engine: EngineName): PlanReference => ({
    path: join(output, `${engine}.plan`),
    key: {
      graph: engine,
      model: model.key,
      'graph file': digest(readFileSync(join(directory, `${engine}.onnx`))),
      shapes: shapesDigest(allProfiles(model, config, maxBatch)),
      'optimization level': String(setting.optimizationLevel),
      'builder flags': setting.flags || 'none',
    },
  })
  return { vision: reference('vision'), prefix: reference('prefix'), denoise: reference('denoise') }
}

/** The profiles of all three engines. */
export function allProfiles(model: LoweredModel, config: ModelConfig, maxBatch: number) {
  const of = (engine: EngineName) => profilesOf(engine, model, config, maxBatch)
  return { vision: of('vision'), prefix: of('prefix'), denoise: of('denoise') }
}

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex').slice(0, 16)

/**
 * Builds the engines of an exported model directory, those whose plans do not fit this machine, model and setting; the
 * others are kept. Throws RUNTIME_FAILED with TensorRT's reason, RUNTIME_UNAVAILABLE where TensorRT is not installed whole, or
 * REQUEST_CANCELLED soon after `signal` aborts.
 */
export async function buildEngines(
  directory: string,
  options: BuildOptions,
  onProgress: (progress: BuildProgress) => void = () => {},
  signal?: AbortSignal,
): Promise<Record<EngineName, PlanReference>> {
  const { addon, config, maxBatch, output, setting, device = 0, builder = buildInChild } = options
  makeDirectory(output)
  const model = readExportedModel(directory)
  const profiles = allProfiles(model, config, maxBatch)
  const plans = planReferences(directory, options)
  for (const engine of ENGINES) {
    const mismatch = await addon.planMismatch({ ...plans[engine], device })
    if (mismatch === '') continue
    options.onBuild?.(engine, existsSync(plans[engine].path) ? mismatch : undefined)
    await builder(
      {
        graph: engine,
        onnxPath: join(directory, `${engine}.onnx`),
        planPath: plans[engine].path,
        key: plans[engine].key,
        profiles: profiles[engine],
        optimizationLevel: setting.optimizationLevel,
        timingCachePath: join(output, 'timing.cache'),
        device,
      },
      setting.flags,
      progress => onProgress({ part: engine, ...progress }),
      signal,
    )
  }
  return plans
}

const buildInChild: Builder = (request, flags, onProgress, signal) => {
  const cancelled = () => calledOff(`the build of ${request.graph}`)
  if (signal?.aborted) return Promise.reject(cancelled())
  return new Promise((resolve, reject) => {
    // From source the child runs TypeScript too.
    const source = import.meta.url.endsWith('.ts')
    const child = fork(fileURLToPath(new URL(`./build-process.${source ? 'ts' : 'js'}`, import.meta.url)), {
      env: { ...process.env, ...(flags && { __LUNOWUD: flags }) },
      ...(source && { execArgv: ['--import', import.meta.resolve('tsx')] }),
    })
    let failure = ''
    let done = false
    const abort = () => child.connected && child.disconnect()
    signal?.addEventListener('abort', abort, { once: true })
    child.on('message', (message: BuildMessage) => {
      if (message.kind === 'progress')
        onProgress({ phase: message.phase, done: message.step, total: message.steps })
      else if (message.kind === 'done') done = true
      else failure = message.hint ? `${message.message}; ${message.hint}` : message.message
    })
    child.on('error', error => {
      failure ||= reasonOf(error)
    })
    child.on('exit', (code, killer) => {
      signal?.removeEventListener('abort', abort)
      if (signal?.aborted) reject(cancelled())
      else if (done) resolve()
      else
        reject(buildFailure(request.graph, failure || `its process ended with ${killer ?? `code ${code}`}`))
    })
    child.send(request)
  })
}
