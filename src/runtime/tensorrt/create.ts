import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf, TurboPiError } from '../../errors.js'
import type { CachedModel } from '../../families/model-cache.js'
import { contentDigest } from '../../storage/content.js'
import { markStart } from '../../storage/entries.js'
import { markUse } from '../../storage/use.js'
import { unavailable } from '../backend.js'
import { openCards } from '../card-set.js'
import { chosenDevices } from '../devices.js'
import {
  type EngineName,
  type GpuProbe,
  loadAddon,
  type NativeAddon,
  type NativeStages,
  type PlanReference,
  probe,
} from '../gpu/addon.js'
import { GpuRuntime } from '../gpu/gpu-runtime.js'
import { lower, modulationTables } from '../gpu/lowering.js'
import type { Runtime } from '../runtime.js'
import { allProfiles, ENGINES } from './build.js'
import { buildGated, type EngineSet, gatedPlans } from './gated-engines.js'
import { shapesDigest } from './optimization-profiles.js'
import type { TensorRtOptions } from './options.js'

/** The stages of a session: engines. */
export interface TensorRtStages extends NativeStages {
  kind: 'tensorrt'
  plans: Record<EngineName, PlanReference>
}

/**
 * Runs the network on an NVIDIA GPU. Engines that are missing, or were built for another machine or model, are built
 * first, and served only when they agree with the reference. Throws RUNTIME_UNAVAILABLE in one paragraph when TensorRT
 * cannot run here: nothing else is put in its place.
 */
export async function createTensorRtRuntime(options: TensorRtOptions): Promise<Runtime> {
  const { weightsPath, adapterPath, config, precision, cache, addon = loadAddon() } = options
  const found = await probe(addon)
  if ('reason' in addon || !found.available)
    throw unavailable('TensorRT', { reason: 'no reason was given', ...found })
  const looking = markStart(cache)
  try {
    const lowered = await lower({ weightsPath, adapterPath, config, precision }, cache, options)
    return await openEngines(lowered, addon, found, options)
  } finally {
    looking()
  }
}

/** Opens the engines of a lowered model; builds them first where none have passed the gate. */
async function openEngines(
  { directory, model }: CachedModel,
  addon: NativeAddon,
  found: GpuProbe,
  options: TensorRtOptions,
): Promise<Runtime> {
  const { config, precision, maxBatch, lanes, cache, chosen } = options
  const output = join(cache, 'engines', `${model.key}-${shapesDigest(allProfiles(model, config, maxBatch))}`)

  const info = {
    backend: 'tensorrt',
    precision,
    maxBatch,
    lanes,
    prefixSlots: lanes,
    joins: false,
    weights: contentDigest(model.content),
    config,
    ...(chosen !== undefined && { chosen }),
  }
  const tables = modulationTables(directory, config)
  const devices = chosenDevices(options.devices ?? [0], found.devices ?? 1)
  const openOn = async (plans: Record<EngineName, PlanReference>, ordinal: number): Promise<Runtime> => {
    const stages: TensorRtStages = { kind: 'tensorrt', plans }
    const session = await addon.openSession({ stages, lanes, slots: lanes, device: ordinal }).catch(error => {
      const which = devices.length > 1 ? ` (GPU ${ordinal})` : ''
      throw new TurboPiError('RUNTIME_FAILED', `The engines could not be opened: ${reasonOf(error)}${which}.`)
    })
    const { device, driver } = await probe(addon, ordinal)
    const card = {
      device: `${device}, TensorRT ${found.tensorrtVersion}, driver ${driver}`,
      cards: [ordinal],
    }
    const used = [markUse(directory), markUse(output)]
    return new GpuRuntime({ ...info, ...card }, 'TensorRT', session, tables, () => {
      for (const release of used) release()
    })
  }
  /** Of the same plans: cards of one kind, or TensorRT refuses them. */
  const open = (plans: Record<EngineName, PlanReference>) =>
    openCards(devices, ordinal => openOn(plans, ordinal))

  const engines: EngineSet = {
    addon,
    directory,
    output,
    computeCapability: found.computeCapability ?? '',
  }
  const usable = await gatedPlans(engines, options)
  if (usable) {
    try {
      options.onStage?.({ name: 'opening the engine' })
      return await open(usable)
    } catch (error) {
      // The key fits and TensorRT still does not take them: they are no good.
      options.onNotice?.(`${reasonOf(error)} They are built again.`)
      for (const engine of ENGINES) rmSync(usable[engine].path, { force: true })
    }
  }
  return open(await buildGated(engines, options, open))
}
