import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { reasonOf, TurboPiError } from '../../../errors.js'

/** What a training config says of the adapters of one part of a network. */
export interface LoraSettings {
  rank: number
  alpha: number
  rslora: boolean
}

/** Settings of the attention's adapters; those of the feed-forward layers are never scaled (openpi's gemma.py). */
export interface JaxLora {
  prefix?: LoraSettings
  expert?: LoraSettings
  /** Where they were found. */
  source: string
}

const FILES = ['model_config.json', 'config.json']
/** openpi's variants gemma_2b_lora and gemma_300m_lora (models/gemma.py). */
const VARIANTS: Readonly<Record<string, LoraSettings>> = {
  gemma_2b_lora: { rank: 16, alpha: 16, rslora: false },
  gemma_300m_lora: { rank: 32, alpha: 32, rslora: false },
}

/** The scale of the attention's adapters. */
export const scaleOf = ({ rank, alpha, rslora }: LoraSettings) => alpha / (rslora ? Math.sqrt(rank) : rank)

/**
 * Alpha and rslora, which a checkpoint does not hold, from `model_config.json` or `config.json` beside `params`; undefined
 * when neither says anything. Throws CHECKPOINT_INVALID.
 */
export function readLoraSettings(params: string): JaxLora | undefined {
  for (const file of FILES) {
    const path = join(dirname(params), file)
    if (!existsSync(path)) continue
    const json = readObject(path)
    const prefix = settingsOf(
      json['paligemma'],
      json['paligemma_variant'],
      `${path}: field "paligemma.lora.attn"`,
    )
    const expert = settingsOf(
      json['action_expert'],
      json['action_expert_variant'],
      `${path}: field "action_expert.lora.attn"`,
    )
    if (prefix || expert) return { ...(prefix && { prefix }), ...(expert && { expert }), source: path }
  }
  return undefined
}

type Json = Record<string, unknown>

const object = (value: unknown) => (typeof value === 'object' && value !== null ? (value as Json) : undefined)

function readObject(path: string): Json {
  try {
    return object(JSON.parse(readFileSync(path, 'utf8'))) ?? {}
  } catch (error) {
    throw new TurboPiError('CHECKPOINT_INVALID', `${path}: cannot be read as JSON: ${reasonOf(error)}`)
  }
}

function settingsOf(network: unknown, variant: unknown, where: string): LoraSettings | undefined {
  const attention = object(object(object(network)?.['lora'])?.['attn'])
  if (!attention) return typeof variant === 'string' ? VARIANTS[variant] : undefined
  const { rank, alpha = 1, rslora = false } = attention
  if (
    Number.isSafeInteger(rank) &&
    typeof alpha === 'number' &&
    Number.isFinite(alpha) &&
    typeof rslora === 'boolean'
  )
    return { rank: rank as number, alpha, rslora }
  throw new TurboPiError(
    'CHECKPOINT_INVALID',
    `${where}: expected {"rank": integer, "alpha": number, "rslora": true or false}, got ${JSON.stringify(attention)}`,
  )
}
