import { closestMatch } from 'leven'
import { TurboPiError } from '../../errors.js'
import { type ModelType, variantOf } from '../../families/pi0/variant.js'
import type { EmbodimentName } from '../embodiment.js'

/** Ranks of the attention's LoRA adapters; alpha is the same in every config of openpi, so that their scale is 1. */
export interface LoraRanks {
  prefix: number
  expert: number
}

/** One training config of openpi: how its checkpoints must be served (network §4.6). */
export interface Preset {
  modelType: ModelType
  actionHorizon: number
  maxTokenLength: number
  /** The state is written into the prompt. */
  discreteState: boolean
  /** Folder of the norm stats under `assets/`. */
  assetId: string
  embodiment: EmbodimentName
  deltaMask?: boolean[]
  /** Of a config that trains adapters on frozen weights. */
  lora?: LoraRanks
  defaultPrompt?: string
  /** openpi's policy_metadata. */
  metadata?: Record<string, unknown>
}

/** `mask(6, -1)`: six times true, once false. */
const mask = (...runs: number[]): boolean[] =>
  runs.flatMap(run => Array<boolean>(Math.abs(run)).fill(run > 0))

const ALOHA_DELTA = mask(6, -1, 6, -1)
const DROID_DELTA = mask(7, -1)
const RESET_POSE = { reset_pose: [0, -1.5, 1.5, 0, 0, 0] }

const presetFor =
  (modelType: ModelType) =>
  (preset: Omit<Preset, 'modelType' | 'maxTokenLength' | 'discreteState'>): Preset => {
    const { maxTokenLength, stateToken } = variantOf({ modelType })
    return { modelType, maxTokenLength, discreteState: !stateToken, ...preset }
  }
const pi05 = presetFor('pi05')
const pi0 = presetFor('pi0')

const droid = (actionHorizon: number, deltaMask?: boolean[]) => ({
  actionHorizon,
  assetId: 'droid',
  embodiment: 'droid' as const,
  ...(deltaMask && { deltaMask }),
})
const aloha = (more: Pick<Preset, 'defaultPrompt' | 'metadata'> = {}) => ({
  actionHorizon: 50,
  assetId: 'trossen',
  embodiment: 'aloha' as const,
  deltaMask: ALOHA_DELTA,
  ...more,
})
const libero = (actionHorizon: number, deltaMask?: boolean[]) => ({
  actionHorizon,
  assetId: 'physical-intelligence/libero',
  embodiment: 'libero' as const,
  ...(deltaMask && { deltaMask }),
})

/** Every config of openpi that serves a pi0 or pi0.5 checkpoint, by its name there. */
export const PRESETS: Readonly<Record<string, Preset>> = {
  pi05_libero: { ...pi05(libero(10)), discreteState: false },
  pi05_droid: pi05(droid(15)),
  pi05_droid_finetune: pi05(droid(16)),
  pi05_full_droid_finetune: pi05(droid(16, DROID_DELTA)),
  pi05_droid_jointpos_polaris: pi05(droid(15, DROID_DELTA)),
  pi05_aloha: pi05(aloha({ metadata: RESET_POSE })),
  pi05_aloha_pen_uncap: pi05(aloha({ defaultPrompt: 'uncap the pen' })),
  pi0_aloha: pi0(aloha({ metadata: RESET_POSE })),
  pi0_aloha_towel: pi0(aloha({ metadata: RESET_POSE, defaultPrompt: 'fold the towel' })),
  pi0_aloha_tupperware: pi0(
    aloha({
      metadata: RESET_POSE,
      defaultPrompt: 'open the tupperware and put the food on the plate',
    }),
  ),
  pi0_aloha_pen_uncap: pi0(aloha({ defaultPrompt: 'uncap the pen' })),
  pi0_aloha_sim: pi0({
    actionHorizon: 50,
    assetId: 'lerobot/aloha_sim_transfer_cube_human',
    embodiment: 'aloha',
    defaultPrompt: 'Transfer cube',
  }),
  pi0_droid: pi0(droid(10)),
  pi0_droid_jointpos_polaris: { ...pi0(droid(10, DROID_DELTA)), maxTokenLength: 100 },
  pi0_droid_jointpos_100k_polaris: { ...pi0(droid(10, DROID_DELTA)), maxTokenLength: 100 },
  pi0_libero: pi0(libero(50, mask(6, -1))),
  pi0_libero_low_mem_finetune: pi0({ ...libero(50, mask(6, -1)), lora: { prefix: 16, expert: 32 } }),
}

/** Edits that a slip of the hand makes. */
const MAX_SLIPS = 3

/** Throws POLICY_INVALID with the nearest name, the names that there are, and those that would fit the checkpoint. */
export function presetOf(name: string, fitting: () => readonly string[] = () => []): Preset {
  const preset = Object.hasOwn(PRESETS, name) ? PRESETS[name] : undefined
  if (preset) return preset
  const names = Object.keys(PRESETS)
  const near = closestMatch(name, names, { maxDistance: MAX_SLIPS })
  const fit = fitting()
  throw new TurboPiError(
    'POLICY_INVALID',
    `There is no config "${name}"; ${near ? `did you mean ${near}? The` : 'the'} presets are ${names.join(', ')}.\n` +
      `${fit.length ? `By its horizon, statistics and assets this checkpoint may be of ${fit.join(', ')}. ` : ''}For another robot write a policy.json with its own embodiment.`,
  )
}
