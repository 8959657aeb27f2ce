import { TurboPiError } from '../../errors.js'
import { isModelType, MODEL_TYPES, type ModelType, variantOf } from './variant.js'

/** SigLIP vision tower (network §1). */
export interface VisionConfig {
  width: number
  depth: number
  heads: number
  mlpDim: number
  /** Patch side in pixels; a camera gives (imageSize / patch)² tokens. */
  patch: number
  imageSize: number
  layerNormEps: number
}

/** One Gemma transformer; prefix and expert share depth, heads, kvHeads and headDim (network §1). */
export interface GemmaConfig {
  width: number
  depth: number
  mlpDim: number
  heads: number
  kvHeads: number
  headDim: number
}

/** Whose arithmetic the times of denoise steps follow: openpi adds up float32 steps, LeRobot takes 1 − k/N in float64. */
export type TimeGrid = 'openpi' | 'lerobot'

/** Everything the graphs are derived from; nothing is fixed to one size. */
export interface ModelConfig {
  modelType: ModelType
  /** Width of an action row inside the network (32 in all released checkpoints). */
  actionDim: number
  /** Rows of an action chunk. */
  actionHorizon: number
  /** Longest prompt in tokens; longer ones are truncated at the tail. */
  maxTokenLength: number
  vocabSize: number
  /** Fixed order of camera slots. */
  cameraSlots: readonly string[]
  vision: VisionConfig
  prefix: GemmaConfig
  expert: GemmaConfig
  ropeTheta: number
  rmsNormEps: number
  timeMinPeriod: number
  timeMaxPeriod: number
  /** Most rows that it was trained to be given of the chunk before (real-time chunking); 0: it was not. */
  trainedDelay: number
  timeGrid: TimeGrid
}

/** Tokens that one camera gives. */
export const tokensPerImage = ({ vision }: ModelConfig) => (vision.imageSize / vision.patch) ** 2

/** Longest prefix that an observation can give: all cameras and the longest prompt. */
export const maxPrefixLength = (config: ModelConfig) =>
  config.cameraSlots.length * tokensPerImage(config) + config.maxTokenLength

/** SigLIP So400m/14 at 224 pixels. */
const SO400M: VisionConfig = {
  width: 1152,
  depth: 27,
  heads: 16,
  mlpDim: 4304,
  patch: 14,
  imageSize: 224,
  layerNormEps: 1e-6,
}

const GEMMA_2B: GemmaConfig = { width: 2048, depth: 18, mlpDim: 16384, heads: 8, kvHeads: 1, headDim: 256 }
const GEMMA_300M: GemmaConfig = { ...GEMMA_2B, width: 1024, mlpDim: 4096 }

/** openpi's names of Gemma sizes. */
const GEMMA_VARIANTS: Readonly<Record<string, GemmaConfig>> = {
  dummy: { width: 64, depth: 4, mlpDim: 128, heads: 8, kvHeads: 1, headDim: 16 },
  gemma_300m: GEMMA_300M,
  gemma_2b: GEMMA_2B,
}

/** What openpi's converter leaves out of its config.json: the released models' values (network §1, §2.3). */
const RELEASED = {
  vocabSize: 257_152,
  cameraSlots: ['base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb'],
  ropeTheta: 10_000,
  rmsNormEps: 1e-6,
  timeMinPeriod: 0.004,
  timeMaxPeriod: 4,
  trainedDelay: 0,
  timeGrid: 'openpi',
} as const

/** The released model of 3.35 B parameters. */
export function releasedConfig(modelType: ModelType): ModelConfig {
  return {
    ...RELEASED,
    modelType,
    actionDim: 32,
    actionHorizon: 50,
    maxTokenLength: variantOf({ modelType }).maxTokenLength,
    vision: SO400M,
    prefix: GEMMA_2B,
    expert: GEMMA_300M,
  }
}

type Json = Record<string, unknown>

/** No width, vocabulary or length of such a network is larger, nor has one more layers: a file that says so is damaged. */
const MOST = 2 ** 21
const MOST_LAYERS = 1024
const MOST_SLOTS = 64

/** Reads fields of a config.json; every complaint names the file and the field. */
class Fields {
  constructor(
    private readonly json: Json,
    private readonly path: string,
    private readonly prefix = '',
  ) {}

  fail(field: string, expected: string): never {
    const came = (JSON.stringify(this.json[field]) ?? 'nothing').slice(0, 200)
    throw new TurboPiError(
      'CHECKPOINT_INVALID',
      `${this.path}: field "${this.prefix}${field}": expected ${expected}, got ${came}`,
    )
  }

  has(field: string): boolean {
    return this.json[field] !== undefined
  }

  integer(field: string, otherwise?: number, least = 1, most = MOST): number {
    const value = (this.json[field] ?? otherwise) as number
    if (!Number.isSafeInteger(value) || value < least)
      this.fail(field, least ? 'a positive integer' : 'an integer from 0 on')
    return value <= most ? value : this.fail(field, `at most ${most}`)
  }

  number(field: string, otherwise?: number): number {
    const value = this.json[field] ?? otherwise
    return typeof value === 'number' && value > 0 && Number.isFinite(value)
      ? value
      : this.fail(field, 'a positive number')
  }

  names(field: string, otherwise: readonly string[]): readonly string[] {
    const value = this.json[field] ?? otherwise
    return Array.isArray(value) &&
      value.length > 0 &&
      value.length <= MOST_SLOTS &&
      value.every(name => typeof name === 'string')
      ? value
      : this.fail(field, 'a list of camera slot names')
  }

  object(field: string): Fields {
    const value = this.json[field]
    if (typeof value !== 'object' || value === null) this.fail(field, 'an object')
    return new Fields(value as Json, this.path, `${this.prefix}${field}.`)
  }

  variant(field: string): GemmaConfig {
    const name = this.json[field]
    return typeof name === 'string' && Object.hasOwn(GEMMA_VARIANTS, name)
      ? GEMMA_VARIANTS[name]!
      : this.fail(field, `one of ${Object.keys(GEMMA_VARIANTS).join(', ')}`)
  }
}

const gemmaConfig = (fields: Fields): GemmaConfig => ({
  width: fields.integer('width'),
  depth: fields.integer('depth', undefined, 1, MOST_LAYERS),
  mlpDim: fields.integer('mlp_dim'),
  heads: fields.integer('num_heads'),
  kvHeads: fields.integer('num_kv_heads'),
  headDim: fields.integer('head_dim'),
})

const visionConfig = (fields: Fields): VisionConfig => ({
  width: fields.integer('width'),
  depth: fields.integer('depth', undefined, 1, MOST_LAYERS),
  heads: fields.integer('heads'),
  mlpDim: fields.integer('mlp_dim'),
  patch: fields.integer('patch'),
  imageSize: fields.integer('image_size'),
  layerNormEps: fields.number('layer_norm_eps', SO400M.layerNormEps),
})

/**
 * Reads a config.json: a full description with its own sizes, openpi's converter's (variants by name) or LeRobot's.
 * `tensorNames` says what the file leaves open: a checkpoint with `time_mlp_in` is pi05 (network §2.3).
 * Throws CHECKPOINT_INVALID.
 */
export function parseModelConfig(json: unknown, path: string, tensorNames: Iterable<string>): ModelConfig {
  if (typeof json !== 'object' || json === null)
    throw new TurboPiError('CHECKPOINT_INVALID', `${path}: expected a JSON object`)
  const fields = new Fields(json as Json, path)
  for (const field of ['paligemma_variant', 'action_expert_variant'])
    refuseLostAdapters((json as Json)[field], `${path}: field "${field}"`)
  const modelType = modelTypeOf(fields, json as Json, tensorNames)
  const described = fields.has('paligemma')
  const config: ModelConfig = {
    modelType,
    actionDim: fields.integer(fields.has('max_action_dim') ? 'max_action_dim' : 'action_dim'),
    actionHorizon: fields.integer(fields.has('chunk_size') ? 'chunk_size' : 'action_horizon'),
    maxTokenLength: fields.integer(
      fields.has('tokenizer_max_length') ? 'tokenizer_max_length' : 'max_token_len',
      variantOf({ modelType }).maxTokenLength,
    ),
    vocabSize: fields.integer('vocab_size', RELEASED.vocabSize),
    cameraSlots: fields.names('image_keys', RELEASED.cameraSlots),
    vision: described ? visionConfig(fields.object('vision')) : SO400M,
    prefix: described ? gemmaConfig(fields.object('paligemma')) : fields.variant('paligemma_variant'),
    expert: described ? gemmaConfig(fields.object('action_expert')) : fields.variant('action_expert_variant'),
    ropeTheta: fields.number('rope_theta', RELEASED.ropeTheta),
    rmsNormEps: fields.number('rms_norm_eps', RELEASED.rmsNormEps),
    timeMinPeriod: fields.number(
      fields.has('min_period') ? 'min_period' : 'time_min_period',
      RELEASED.timeMinPeriod,
    ),
    timeMaxPeriod: fields.number(
      fields.has('max_period') ? 'max_period' : 'time_max_period',
      RELEASED.timeMaxPeriod,
    ),
    trainedDelay: fields.integer('rtc_training_max_delay', RELEASED.trainedDelay, 0),
    timeGrid: fields.has('type') ? 'lerobot' : RELEASED.timeGrid,
  }
  if (!variantOf(config).adaptiveNorms && config.trainedDelay > 0)
    fields.fail('rtc_training_max_delay', '0, since the network of pi0 has one time for all rows')
  checkConsistent(config, path)
  return config
}

/** openpi's converter leaves LoRA adapters out without a word, and its config.json still names them. */
function refuseLostAdapters(variant: unknown, where: string): void {
  if (typeof variant !== 'string' || !variant.endsWith('_lora')) return
  throw new TurboPiError(
    'CHECKPOINT_INVALID',
    `${where} is ${variant}, but openpi's converter leaves the LoRA adapters out: these weights are those of the base model. ` +
      'Give the JAX checkpoint instead (the folder that holds params), whose adapters are merged when it is loaded. ' +
      `If they were merged before the conversion, write "${variant.slice(0, -'_lora'.length)}" there.`,
  )
}

function modelTypeOf(fields: Fields, json: Json, tensorNames: Iterable<string>): ModelType {
  const fromTensors = [...tensorNames].some(
    name => name.endsWith('time_mlp_in.weight') && !name.includes('action_time'),
  )
    ? 'pi05'
    : 'pi0'
  const field = fields.has('type') ? 'type' : 'model_type'
  const stated = json[field] ?? fromTensors
  if (!isModelType(stated)) fields.fail(field, MODEL_TYPES.map(name => `"${name}"`).join(' or '))
  if (stated !== fromTensors)
    fields.fail(field, `"${fromTensors}", since the tensors are those of a ${fromTensors} checkpoint`)
  return stated
}

/** Throws CHECKPOINT_INVALID when the sizes do not fit each other. */
export function checkConsistent({ vision, prefix, expert }: ModelConfig, path: string): void {
  const fail = (detail: string) => {
    throw new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`)
  }
  for (const key of ['depth', 'heads', 'kvHeads', 'headDim'] as const)
    if (prefix[key] !== expert[key])
      fail(
        `prefix and action expert attend to each other layer by layer, but their ${key} are ${prefix[key]} and ${expert[key]}`,
      )
  if (prefix.heads % prefix.kvHeads)
    fail(`${prefix.heads} heads cannot share ${prefix.kvHeads} key/value heads`)
  if (prefix.headDim % 2) fail(`head_dim is ${prefix.headDim}; RoPE needs an even one`)
  if (expert.width % 2)
    fail(`the action expert's width is ${expert.width}; the time embedding needs an even one`)
  if (vision.imageSize % vision.patch)
    fail(`image_size ${vision.imageSize} is no multiple of patch ${vision.patch}`)
  if (vision.width % vision.heads)
    fail(`vision width ${vision.width} is no multiple of its ${vision.heads} heads`)
}
