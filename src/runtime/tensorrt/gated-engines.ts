import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ARITHMETICS } from '../../onnx/arithmetic.js'
import { errorsOf, type GateResult, gateCases, passingSetting } from '../agreement/gate.js'
import type { EngineName, NativeAddon, PlanReference } from '../gpu/addon.js'
import type { Runtime } from '../runtime.js'
import { buildEngines, ENGINES, planReferences } from './build.js'
import type { TensorRtOptions } from './options.js'
import { type BuildSetting, describe, settingsFor } from './settings.js'

type Plans = Record<EngineName, PlanReference>

/** The engines of one lowered model and one set of shapes. */
export interface EngineSet {
  addon: NativeAddon
  /** Where the lowered model lies. */
  directory: string
  /** Where its plans lie, and gate.json. */
  output: string
  /** Of the GPU, "major.minor". */
  computeCapability: string
}

/** What gate.json keeps: the setting whose engines agreed with the reference, and by how much. */
interface GateRecord {
  setting: BuildSetting
  result: GateResult
}

const GATE_FILE = 'gate.json'

/** Plans that passed the gate and still fit; undefined, with a notice, when they have to be built. */
export async function gatedPlans(
  { addon, directory, output }: EngineSet,
  { config, maxBatch, onNotice }: TensorRtOptions,
): Promise<Plans | undefined> {
  let record: GateRecord
  try {
    record = JSON.parse(readFileSync(join(output, GATE_FILE), 'utf8')) as GateRecord
  } catch {
    onNotice?.('no engine has passed the numeric gate for this model and machine yet')
    return undefined
  }
  const plans = planReferences(directory, { config, maxBatch, output, setting: record.setting })
  for (const engine of ENGINES) {
    const mismatch = await addon.planMismatch({ ...plans[engine], device: 0 })
    if (mismatch === '') continue
    onNotice?.(`the ${engine} plan ${mismatch}`)
    return undefined
  }
  onNotice?.(
    `${describe(record.setting)}: agreed with the CPU runtime when built, ${errorsOf(record.result)}`,
  )
  return plans
}

/** Builds engines under one setting after the other until the gate lets some pass, and keeps which. Throws as the gate does. */
export async function buildGated(
  { addon, directory, output, computeCapability }: EngineSet,
  options: TensorRtOptions,
  open: (plans: Plans) => Promise<Runtime>,
): Promise<Plans> {
  const { config, maxBatch, precision, builder, onStage, onNotice, signal } = options
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
        onBuild: (engine, reason) =>
          onNotice?.(`building the ${engine} engine${reason ? `: the plan ${reason}` : ''}`),
        ...(builder && { builder }),
      },
      ({ part, phase, done, total }) =>
        onStage?.({ name: 'building the engines', detail: `${part}: ${phase}`, done, total }),
      signal,
    )
  const record: GateRecord = await passingSetting({
    title: 'TensorRT',
    settings: settingsFor(computeCapability),
    describe,
    advice: 'Try --precision fp32, or another TensorRT version.',
    tolerance: ARITHMETICS[precision].tolerance.gate,
    cases: options.cases ?? gateCases(config, maxBatch),
    reference: () => {
      onStage?.({ name: 'comparing the engines with the CPU', detail: 'float32' })
      return options.reference(Math.min(2, maxBatch))
    },
    open: async setting => {
      const plans = await build(setting)
      onStage?.({ name: 'comparing the engines with the CPU' })
      return open(plans)
    },
    onAttempt: ({ setting, refused, result }) =>
      onNotice?.(`${describe(setting)}: ${refused ?? `agrees with the CPU runtime, ${errorsOf(result!)}`}`),
  })
  writeFileSync(join(output, GATE_FILE), `${JSON.stringify(record, null, 2)}\n`)
  return planReferences(directory, { config, maxBatch, output, setting: record.setting })
}
