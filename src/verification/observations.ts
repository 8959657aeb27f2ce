import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf, TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import type { PerceiveRow } from '../families/pi0/perceive-row.js'
import { variantOf } from '../families/pi0/variant.js'
import type { Policy } from '../policy/policy.js'
import { seededNoise } from '../runtime/noise.js'
import { openGoldenCase } from './golden-case.js'
import { prepareRecorded } from './recorded-message.js'

/** Pixels and tokens drawn at random, in the first `cameras` slots; the same for the same seed. */
export function randomRow(
  config: ModelConfig,
  seed: number,
  { cameras, tokens }: { cameras: number; tokens: number },
): PerceiveRow {
  const { cameraSlots, vision, vocabSize, actionDim } = config
  const draw = (stream: number, size: number) => seededNoise(1000 * seed + stream, size)
  const image = (slot: number) => Uint8Array.from(draw(slot, vision.imageSize ** 2 * 3), v => 128 + 40 * v)
  return {
    images: cameraSlots.map((_, slot) => (slot < cameras ? image(slot) : null)),
    tokens: Int32Array.from(draw(100, tokens), v =>
      Math.min(vocabSize - 1, Math.floor(Math.abs(v) * 0.3 * vocabSize)),
    ),
    ...(variantOf(config).stateToken && { state: draw(101, actionDim) }),
  }
}

/** Rows with every camera and a prompt of middle length. */
export function randomRows(config: ModelConfig, count: number): PerceiveRow[] {
  const size = { cameras: config.cameraSlots.length, tokens: Math.min(64, config.maxTokenLength) }
  return Array.from({ length: count }, (_, seed) => randomRow(config, seed, size))
}

/**
 * The observations in a directory: messages of openpi's client (.msgpack), which only a policy can read, and golden cases
 * (.safetensors). Throws CONFIG_INVALID, OBSERVATION_INVALID and CHECKPOINT_INVALID, which name the file.
 */
export async function recordedRows(
  directory: string,
  config: ModelConfig,
  policy?: Policy,
): Promise<PerceiveRow[]> {
  let names: string[]
  try {
    names = readdirSync(directory).sort()
  } catch (error) {
    throw new TurboPiError('CONFIG_INVALID', `${directory} cannot be read: ${reasonOf(error)}`)
  }
  const rows: PerceiveRow[] = []
  for (const name of names) {
    const path = join(directory, name)
    if (name.endsWith('.safetensors')) rows.push(...goldenRows(path, config))
    if (name.endsWith('.msgpack')) rows.push(await messageRow(path, policy))
  }
  if (rows.length === 0)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `${directory} holds no .msgpack message and no .safetensors case`,
    )
  return rows
}

function goldenRows(path: string, config: ModelConfig): readonly PerceiveRow[] {
  const { rows, tensors } = openGoldenCase(path, config)
  tensors.close()
  return rows
}

async function messageRow(path: string, policy: Policy | undefined): Promise<PerceiveRow> {
  if (!policy)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `${path} is a client's message: give --policy instead of --model to read it`,
    )
  try {
    return (await prepareRecorded(path, policy)).row
  } catch (error) {
    throw new TurboPiError('OBSERVATION_INVALID', `${path}: ${reasonOf(error)}`, { cause: error })
  }
}
