import { TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import type { Precision } from '../onnx/arithmetic.js'
import { cacheDirectory } from '../storage/cache.js'
import { type Backend, type BackendOptions, type Missing, unavailable } from './backend.js'
import { cpuBackend } from './cpu/backend.js'
import { createCpuRuntime } from './cpu/cpu-runtime.js'
import { cudaBackend } from './cuda/backend.js'
import { parsedDevices } from './devices.js'
import type { Runtime } from './runtime.js'
import { tensorRtBackend } from './tensorrt/backend.js'

/** Every backend. `auto` takes the first one that this machine has and that computes in the precision asked for. */
export const BACKENDS: readonly Backend[] = [cudaBackend, tensorRtBackend, cpuBackend]

/** Other names of a backend and its lanes, kept for those who use them. */
const ALIASES: Readonly<Record<string, { runtime: string; pipeline: 'on' | 'off' }>> = {
  tensorrt_pipelined: { runtime: 'tensorrt', pipeline: 'on' },
}

const aliasOf = (name: string) => (Object.hasOwn(ALIASES, name) ? ALIASES[name] : undefined)

/** What `--runtime` takes. */
export const RUNTIMES: readonly string[] = [
  'auto',
  ...BACKENDS.map(({ name }) => name).sort(),
  ...Object.keys(ALIASES),
]

/** What a runtime is made for. */
export interface RuntimeModel {
  /** A safetensors file or the index of a sharded one. */
  weightsPath: string
  /** Folder of a PEFT adapter to merge into the weights. */
  adapterPath?: string | undefined
  model: ModelConfig
}

export interface RuntimeSettings
  extends Pick<
    BackendOptions,
    'maxBatch' | 'emulated' | 'threads' | 'visionCache' | 'prefixCache' | 'onStage' | 'onNotice' | 'signal'
  > {
  /** One of RUNTIMES. */
  runtime: string
  /** auto: the first one of the backend. */
  precision: 'auto' | Precision
  /** Cards to compute on: `all`, or their numbers with commas between them. Default: the first. */
  devices?: string
  /** Two lanes or one; auto: as the backend prefers. */
  pipeline: 'auto' | 'on' | 'off'
  /** Default: $TURBO_PI_CACHE, else ~/.cache/turbo-pi. */
  cacheDir?: string | undefined
}

type Choices = Pick<RuntimeSettings, 'runtime' | 'precision' | 'devices' | 'pipeline'>

/** The card that is taken where none is named. */
const FIRST = '0'

/** The settings without aliases. */
function resolved<S extends Choices>(settings: S): S {
  const alias = aliasOf(settings.runtime)
  if (!alias) return settings
  const { runtime, pipeline } = alias
  if (settings.pipeline !== 'auto' && settings.pipeline !== pipeline)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--runtime ${settings.runtime} stands for --runtime ${runtime} --pipeline ${pipeline}, which contradicts --pipeline ${settings.pipeline}: leave one out.`,
    )
  return { ...settings, runtime, pipeline }
}

const listed = (names: readonly string[]) => names.join(', ')

/** The rows that a name stands for: all of them for `auto`. Throws CONFIG_INVALID. */
function rowsOf(name: string): readonly Backend[] {
  const rows = name === 'auto' ? BACKENDS : BACKENDS.filter(backend => backend.name === name)
  if (rows.length === 0)
    throw new TurboPiError('CONFIG_INVALID', `--runtime takes ${listed(RUNTIMES)}, got ${name}.`)
  return rows
}

/** What `--precision auto` stands for on a runtime that is named. */
export const defaultPrecision = (runtime: string): Precision =>
  rowsOf(aliasOf(runtime)?.runtime ?? runtime)[0]!.arithmetics[0]

/** Why a backend cannot do what is asked, on whatever machine. */
function unfit(
  { title, arithmetics, lanes, severalCards }: Backend,
  { precision, pipeline, devices = FIRST }: Choices,
): string | undefined {
  if (precision !== 'auto' && !arithmetics.includes(precision))
    return `the ${title} runtime has no ${precision}`
  if (pipeline !== 'auto' && !lanes.includes(pipeline === 'on' ? 2 : 1))
    return `the ${title} runtime has no --pipeline ${pipeline}`
  if (devices !== FIRST && !severalCards) return `the ${title} runtime has no --devices ${devices}`
  return undefined
}

/**
 * The first of the rows that can do what is asked and that this machine has, and why; one that is slow here gives way to the
 * row after it. Throws CONFIG_INVALID or RUNTIME_UNAVAILABLE.
 */
async function choose(rows: readonly Backend[], choices: Choices, model?: RuntimeModel) {
  const reasons: string[] = []
  let missing: { title: string; what: Missing } | undefined
  let slow: { backend: Backend; because: string; detail?: string } | undefined
  for (const backend of rows) {
    const reason = unfit(backend, choices) ?? (rows.length > 1 && model && backend.refuses?.(model))
    if (reason) {
      reasons.push(reason)
      continue
    }
    const found = await backend.probe()
    if (found.available) {
      const because = listed(found.found ? [...reasons, found.found] : reasons)
      const choice = { backend, because, ...(missing && { detail: missing.what.reason }) }
      if (!found.slow || rows.length === 1) return choice
      slow = choice
      reasons.push(found.slow)
      continue
    }
    reasons.push(`${backend.title} is not available`)
    missing ??= { title: backend.title, what: found }
    if (slow) return slow
  }
  if (slow) return slow
  if (missing) throw unavailable(missing.title, missing.what)
  const ways = rows.map(
    ({ name, arithmetics }) => `--runtime ${name} takes --precision ${listed(arithmetics)}`,
  )
  throw new TurboPiError(
    'CONFIG_INVALID',
    `No runtime can serve these settings: ${listed(reasons)}. ${ways.join('; ')}.`,
  )
}

/**
 * The name of the backend that the settings stand for. Throws, before anything is loaded, what `createRuntime` would throw
 * since the machine lacks it.
 */
export async function requireRuntime(settings: Choices): Promise<string> {
  const choices = resolved(settings)
  const { backend } = await choose(rowsOf(choices.runtime), choices)
  return backend.name
}

/** What `serve` takes where nothing is said. */
const DEFAULTS: RuntimeSettings = { runtime: 'auto', precision: 'auto', pipeline: 'auto', maxBatch: 8 }

/** Makes the runtime that the settings ask for, and no other: CONFIG_INVALID or RUNTIME_UNAVAILABLE say why it cannot be had. */
export async function createRuntime(
  model: RuntimeModel,
  settings: Partial<RuntimeSettings> = {},
): Promise<Runtime> {
  const asked = resolved({ ...DEFAULTS, ...settings })
  const { backend, because, detail } = await choose(rowsOf(asked.runtime), asked, model)
  if (asked.runtime !== 'auto') return backend.open(optionsOf(backend, model, asked))
  // The detail may name paths: it is for the log alone.
  asked.onNotice?.(`runtime auto: ${backend.name}, since ${because}${detail ? `: ${detail}` : ''}`)
  return backend.open({ ...optionsOf(backend, model, asked), chosen: because })
}

/**
 * Builds what the backend of the settings serves from, and says what is ready; `auto` is the first one that builds anything.
 * Throws CONFIG_INVALID when there is nothing to build, and what `createRuntime` throws.
 */
export async function buildForRuntime(
  model: () => Promise<RuntimeModel>,
  settings: RuntimeSettings,
): Promise<string> {
  const asked = resolved(settings)
  const rows = rowsOf(asked.runtime).filter(({ build }) => build)
  if (rows.length === 0)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--runtime ${asked.runtime} has nothing to build; use ${listed(BACKENDS.filter(({ build }) => build).map(({ name }) => name))}.`,
    )
  const { backend } = await choose(rows.slice(0, 1), asked)
  return backend.build!(optionsOf(backend, await model(), asked))
}

/** What the settings say to a backend: its own choices in place of `auto`. */
function optionsOf(
  { arithmetics, lanes }: Backend,
  { weightsPath, adapterPath, model: config }: RuntimeModel,
  settings: RuntimeSettings,
): BackendOptions {
  const {
    runtime: _,
    precision,
    devices = FIRST,
    pipeline,
    cacheDir: cache = cacheDirectory(),
    ...rest
  } = settings
  const { signal, onNotice } = settings
  const reference = (maxBatch: number) =>
    createCpuRuntime({
      ...{ weightsPath, adapterPath, config, cache, maxBatch, prefixSlots: 1 },
      ...(onNotice && { onNotice }),
      ...(signal && { signal }),
    })
  return {
    ...rest,
    weightsPath,
    adapterPath,
    config,
    cache,
    precision: precision === 'auto' ? arithmetics[0] : precision,
    devices: parsedDevices(devices),
    lanes: pipeline === 'auto' ? lanes[0] : pipeline === 'on' ? 2 : 1,
    reference,
  }
}
