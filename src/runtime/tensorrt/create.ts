import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf, TurboPiError } from '../../errors.js'
import { fingerprintOf, loweredDirectory } from '../../families/lowered-model.js'
import type { ModelConfig, Precision } from '../../families/pi0/config.js'
import { cacheDirectory } from '../../storage/cache.js'
import {
  describe,
  errorsOf,
  type GateResult,
  gateCases,
  passingSetting,
  settingsFor,
} from '../agreement/gate.js'
import type { NetworkCase } from '../agreement/run-case.js'
import { createCpuRuntime } from '../cpu/cpu-runtime.js'
import {
  type EngineName,
  loadAddon,
  type NativeAddon,
  type PlanReference,
  requireTensorRt,
} from '../gpu/addon.js'
import { lower, modulationTable } from '../gpu/lowering.js'
import type { Runtime } from '../runtime.js'
import {
  allProfiles,
  type Builder,
  type BuildProgress,
  type BuildSetting,
  buildEngines,
  ENGINES,
  planReferences,
  readExportedModel,
} from './build.js'
import { shapesDigest } from './optimization-profiles.js'
import { TensorRtRuntime } from './tensorrt-runtime.js'

export interface TensorRtOptions {
  /** A safetensors file or the index of a sharded one. */
  weightsPath: string
  config: ModelConfig
  /** Default bf16. */
  precision?: Precision
  /** True: perceive and act in streams of their own. Default false. */
  pipelined?: boolean
  /** Rows of one perceive call, default 8. */
  maxBatch?: number
  /** Default `$TURBO_PI_CACHE`, else `~/.cache/turbo-pi`. */
  cache?: string
  /** Batches for the numeric gate; seeded ones by default. */
  cases?: readonly NetworkCase[]
  /** Hears bytes written while a checkpoint is lowered for the first time. */
  onProgress?: (done: number, total: number) => void
  onBuild?: (progress: BuildProgress) => void
  /** Hears, in sentences, why engines are built and how the gate judged them. */
  onNotice?: (text: string) => void
  signal?: AbortSignal
  /** For tests: the addon, and what builds an engine. */
  addon?: ReturnType<typeof loadAddon>
  builder?: Builder
}

/** What gate.json keeps: the setting whose engines agreed with the CPU runtime, and by how much. */
interface GateRecord {
  setting: BuildSetting
  result: GateResult
}

const GATE_FILE = 'gate.json'

/**
 * Runs the network on an NVIDIA GPU. Engines that are missing, or were built for another machine or model, are built
 * first, and served only when they agree with the CPU runtime. Throws RUNTIME_UNAVAILABLE in one paragraph when TensorRT
 * cannot run here: nothing else is put in its place.
 */
export async function createTensorRtRuntime(options: TensorRtOptions): Promise<Runtime> {
  const { addon, found } = requireTensorRt(options.addon ?? loadAddon())
  const { weightsPath, config, precision = 'bf16', pipelined = false, maxBatch = 8, signal } = options
  if (precision === 'int8')
    throw new TurboPiError('RUNTIME_UNAVAILABLE', 'The TensorRT runtime has no int8; use bf16, fp16 or fp32.')
  const source = { weightsPath, config, precision }
  const fingerprint = fingerprintOf(source)
  const cache = options.cache ?? cacheDirectory()
  const directory = loweredDirectory(fingerprint, cache)
  await lower(source, fingerprint, directory, options)
  const digest = shapesDigest(allProfiles(readExportedModel(directory), config, maxBatch))
  const output = join(cache, 'engines', `${fingerprint}-${digest}`)

  const tables = new Map<number, Promise<Float32Array>>()
  const tableOf = (steps: number) => {
    const table = tables.get(steps) ?? modulationTable(directory, config, steps)
    tables.set(steps, table)
    table.catch(() => tables.delete(steps))
    return table
  }
  const open = async (plans: Record<EngineName, PlanReference>): Promise<Runtime> => {
    const lanes = pipelined ? 2 : 1
    const session = await addon.openSession({ plans, lanes, slots: lanes, device: 0 }).catch(error => {
      throw new TurboPiError('RUNTIME_FAILED', `The engines could not be opened: ${reasonOf(error)}.`)
    })
    const info = {
      backend: pipelined ? 'tensorrt_pipelined' : 'tensorrt',
      device: `${found.device}, TensorRT ${found.tensorrtVersion}, driver ${found.driver}`,
      precision,
      maxBatch,
      lanes,
      prefixSlots: lanes,
      fingerprint,
      config,
    } as const
    return new TensorRtRuntime(info, session, tableOf)
  }

  const usable = gatedPlans(addon, directory, output, options, maxBatch)
  if (usable) {
    try {
      return await open(usable)
    } catch (error) {
      // The key fits and TensorRT still does not take them: they are no good.
      options.onNotice?.(`${reasonOf(error)} They are built again.`)
      for (const engine of ENGINES) rmSync(usable[engine].path, { force: true })
    }
  }

  rmSync(join(output, GATE_FILE), { force: true })
  const build = (setting: BuildSetting) =>
    buildEngines(
      directory,
      {
        addon,
        config,
        maxBatch,
        output,
        setting,
        onRebuild: (engine, reason) =>
          options.onNotice?.(`building the ${engine} engine: the plan ${reason}`),
        ...(options.builder && { builder: options.builder }),
      },
      options.onBuild,
      signal,
    )
  const { setting, result } = await passingSetting({
    settings: settingsFor(found.computeCapability ?? ''),
    reference: () =>
      createCpuRuntime({
        weightsPath,
        config,
        cache,
        precision: 'fp32',
        maxBatch: Math.min(2, maxBatch),
        prefixSlots: 1,
        ...(signal && { signal }),
      }),
    cases: options.cases ?? gateCases(config, maxBatch),
    open: async setting => open(await build(setting)),
    onAttempt: attempt =>
      options.onNotice?.(
        `${describe(attempt)}: ${attempt.refused ?? `agrees with the CPU runtime, ${errorsOf(attempt.result!)}`}`,
      ),
  })
  const record: GateRecord = { setting, result }
  writeFileSync(join(output, GATE_FILE), `${JSON.stringify(record, null, 2)}\n`)
  return open(planReferences(directory, { config, maxBatch, output, setting }))
}

/** Plans that passed the gate and still fit; undefined, with a notice, when they have to be built. */
function gatedPlans(
  addon: NativeAddon,
  directory: string,
  output: string,
  { config, onNotice }: TensorRtOptions,
  maxBatch: number,
): Record<EngineName, PlanReference> | undefined {
  let record: GateRecord
  try {
    record = JSON.parse(readFileSync(join(output, GATE_FILE), 'utf8')) as GateRecord
  } catch {
    onNotice?.('no engine has passed the numeric gate for this model and machine yet')
    return undefined
  }
  const plans = planReferences(directory, { config, maxBatch, output, setting: record.setting })
  for (const engine of ENGINES) {
    const mismatch = addon.planMismatch({ ...plans[engine], device: 0 })
    if (mismatch === '') continue
    onNotice?.(`the ${engine} plan ${mismatch}`)
    return undefined
  }
  onNotice?.(
    `${describe(record.setting)}: agreed with the CPU runtime when built, ${errorsOf(record.result)}`,
  )
  return plans
}
