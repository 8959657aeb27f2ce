import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { reasonOf, TurboPiError } from '../../errors.js'
import { Checkpoint } from '../../families/pi0/checkpoint.js'
import { modulatedTimes, timeEmbeddings } from '../../families/pi0/time.js'
import type { Precision } from '../../onnx/arithmetic.js'
import { contentDigest } from '../../storage/content.js'
import { ContentReading, recall } from '../../storage/known-content.js'
import { type Availability, type BackendOptions, type Missing, unavailable } from '../backend.js'
import { openCards } from '../card-set.js'
import { chosenDevices } from '../devices.js'
import {
  addonPath,
  loadAddon,
  type NativeAddon,
  type NativeMemory,
  type NativeStages,
  probe,
} from '../gpu/addon.js'
import { GpuRuntime } from '../gpu/gpu-runtime.js'
import type { Runtime } from '../runtime.js'
import { prefixSlots, roomFor } from './memory.js'
import { type NativeModel, nativeModel } from './native-model.js'
import { type NativeWeight, nativeWeights } from './weights.js'

export interface CudaOptions extends BackendOptions {
  /** For tests: the addon, and the image of the kernels. */
  addon?: ReturnType<typeof loadAddon>
  kernels?: string
  /** False: the reference kernels alone, which are slow and run on every card. */
  tuned?: boolean
}

/** The stages of a session: our own kernels. */
export interface CudaStages extends NativeStages {
  kind: 'cuda'
  /** The image of all kernels. */
  kernels: string
  tuned: boolean
  /** Threads that read the weights, each with 32 MiB of page-locked memory. */
  readers: number
  model: NativeModel
  weights: NativeWeight[]
}

/** Compute capability of the cards that the fast kernels are for (`tunedFits` in native/src/pi05/cuda_tuned.cc). */
const TUNED_FOR = '9.0'

/** The first compute capability with 8-bit floats. */
const FLOAT8_FROM = 8.9

/** Threads that read weights, of all cards together. */
const READERS = 8

/** Where the image of the kernels is looked for: `$TURBO_PI_KERNELS`, else beside the addon. */
export const kernelsPath = () =>
  process.env['TURBO_PI_KERNELS'] || join(dirname(addonPath()), 'kernels.fatbin')

/** What this machine offers: a driver with a GPU that the kernels are compiled for, and the kernels. */
export async function probeCuda(
  addon = loadAddon(),
  kernels = kernelsPath(),
  ordinal = 0,
): Promise<Availability> {
  const { device, computeCapability = '0', driver, reason, hint } = await probe(addon, ordinal)
  if (device === undefined)
    return { available: false, reason: reason ?? 'no GPU was found', ...(hint && { hint }) }
  if (Number(computeCapability) < 8)
    return {
      available: false,
      reason: `${device} has compute capability ${computeCapability}; the kernels need 8.0 or later`,
    }
  if (!existsSync(kernels))
    return {
      available: false,
      reason: `the kernels are not there (${kernels})`,
      hint: 'run npm run build:native where nvcc is, or set TURBO_PI_KERNELS to a built kernels.fatbin',
    }
  return {
    available: true,
    found: `${device} and our kernels are there, driver ${driver}`,
    ...(computeCapability !== TUNED_FOR && {
      slow: `our kernels are not tuned for compute capability ${computeCapability}`,
    }),
  }
}

/** Why a card cannot compute in a precision. */
export async function lacksPrecision(
  addon: NativeAddon,
  precision: Precision,
  ordinal: number,
): Promise<Missing | undefined> {
  if (precision !== 'fp8') return undefined
  const { device, computeCapability = '0' } = await probe(addon, ordinal)
  if (Number(computeCapability) >= FLOAT8_FROM) return undefined
  return {
    reason: `${device} has compute capability ${computeCapability}; 8-bit floats need ${FLOAT8_FROM} or later`,
    hint: 'use --precision bf16',
  }
}

/**
 * Runs the network on an NVIDIA GPU through our own kernels, which need the driver and nothing else of NVIDIA's.
 * Throws RUNTIME_UNAVAILABLE in one paragraph when that cannot be: nothing else is put in its place.
 */
export async function createCudaRuntime(options: CudaOptions): Promise<Runtime> {
  const { config, precision, maxBatch, lanes, chosen } = options
  const { addon = loadAddon(), kernels = kernelsPath(), tuned = true } = options
  const devices = chosenDevices(options.devices ?? [0], (await probe(addon)).devices ?? 1)
  for (const device of devices.length > 0 ? devices : [0]) {
    const available = await probeCuda(addon, kernels, device)
    if (!available.available) throw unavailable('CUDA', available)
  }
  if ('reason' in addon) throw unavailable('CUDA', addon)
  const refused = refuses(options)
  if (refused)
    throw unavailable('CUDA', {
      reason: refused,
      hint: 'convert the checkpoint to safetensors, or use --runtime tensorrt',
    })
  for (const device of devices) {
    const lacking = await lacksPrecision(addon, precision, device)
    if (lacking) throw unavailable('CUDA', lacking)
  }
  const stages = cudaStages({ ...options, kernels, tuned, cards: devices.length })
  const { prefixCache: kept = 0 } = options
  const sessionOn = (device: number) => ({ stages, lanes, slots: prefixSlots(lanes), kept, device })
  const needs = new Map<number, NativeMemory>()
  for (const device of devices) {
    const { needed, short } = await roomFor(addon, sessionOn(device))
    if (short)
      throw unavailable('CUDA', {
        reason: short,
        hint: 'lower --max-batch or --prefix-cache, or free the card of other processes',
      })
    needs.set(device, needed)
  }
  const reading = readContent(options)
  try {
    options.onStage?.({ name: 'opening the engine' })
    const table = async (steps: number) => timeEmbeddings(config, modulatedTimes(config, steps))
    return await openCards(devices, async ordinal => {
      const session = await addon.openSession(sessionOn(ordinal)).catch(error => {
        const which = devices.length > 1 ? ` (GPU ${ordinal})` : ''
        throw new TurboPiError(
          'RUNTIME_FAILED',
          `The CUDA runtime could not be opened: ${reasonOf(error)}${which}.`,
        )
      })
      const { device, driver } = await probe(addon, ordinal)
      const info = {
        backend: 'cuda',
        device: `${device}, driver ${driver}`,
        cards: [ordinal],
        memory: needs.get(ordinal)!,
        precision,
        maxBatch,
        lanes,
        prefixSlots: prefixSlots(lanes),
        joins: session.shape.joins,
        weights: contentDigest(await reading.end()),
        config,
        ...(chosen !== undefined && { chosen }),
      }
      return new GpuRuntime(info, 'CUDA', session, table, () => {}, kept)
    })
  } catch (error) {
    reading.stop()
    throw error
  }
}

/** What a session of a policy is made of. Throws CHECKPOINT_INVALID. */
export function cudaStages({
  weightsPath,
  config,
  precision,
  maxBatch,
  kernels = kernelsPath(),
  tuned = true,
  cards = 1,
}: Pick<CudaOptions, 'weightsPath' | 'config' | 'precision' | 'maxBatch' | 'kernels' | 'tuned'> & {
  /** That share the readers. */
  cards?: number
}): CudaStages {
  return {
    kind: 'cuda',
    kernels,
    tuned,
    readers: Math.max(1, Math.floor(READERS / cards)),
    model: nativeModel(config, precision, maxBatch),
    weights: nativeWeights(weightsPath, config),
  }
}

/** Why the weights cannot be read where they lie. */
export function refuses({
  weightsPath,
  adapterPath,
}: Pick<CudaOptions, 'weightsPath' | 'adapterPath'>): string | undefined {
  const layout =
    adapterPath !== undefined
      ? `${adapterPath} is an adapter`
      : statSync(weightsPath, { throwIfNoEntry: false })?.isDirectory()
        ? `${weightsPath} is a JAX checkpoint`
        : undefined
  return layout && `the CUDA runtime reads weights from safetensors files as they lie, and ${layout}`
}

/** Reads what the weights are while they are loaded, unless that is known already. Throws CHECKPOINT_INVALID. */
function readContent({ weightsPath, config, cache }: CudaOptions): {
  end(): ReturnType<ContentReading['end']>
  stop(): void
} {
  const checkpoint = Checkpoint.open(weightsPath, config)
  checkpoint.close()
  const content = checkpoint.content()
  const reading = new ContentReading(content, recall(cache, content))
  const end = async () => {
    const read = await reading.end()
    try {
      reading.remember(cache, read)
    } catch {
      // A cache that cannot be written costs the next start a read.
    }
    return read
  }
  let ended: ReturnType<typeof end> | undefined
  // Every card asks.
  return { end: () => (ended ??= end()), stop: () => reading.stop() }
}
