import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelConfig } from '../../src/families/pi0/config.js'
import { writeRandomCheckpoint } from '../../src/families/pi0/random-weights.js'

export const golden = new URL('../golden', import.meta.url).pathname

/** A small config; everything about it can be changed. */
export function smallConfig(changes: Partial<ModelConfig> = {}): ModelConfig {
  return {
    modelType: 'pi05',
    actionDim: 32,
    actionHorizon: 10,
    maxTokenLength: 12,
    vocabSize: 50,
    cameraSlots: ['base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb'],
    vision: { width: 24, depth: 2, heads: 3, mlpDim: 40, patch: 7, imageSize: 28, layerNormEps: 1e-6 },
    prefix: { width: 32, depth: 2, mlpDim: 48, heads: 4, kvHeads: 1, headDim: 8 },
    expert: { width: 16, depth: 2, mlpDim: 24, heads: 4, kvHeads: 1, headDim: 8 },
    ropeTheta: 10_000,
    rmsNormEps: 1e-6,
    timeMinPeriod: 0.004,
    timeMaxPeriod: 4,
    trainedDelay: 0,
    timeGrid: 'openpi',
    ...changes,
  }
}

/** The config.json that describes a config. */
export function describe(config: ModelConfig): Record<string, unknown> {
  const gemma = ({ width, depth, mlpDim, heads, kvHeads, headDim }: ModelConfig['prefix']) => ({
    width,
    depth,
    mlp_dim: mlpDim,
    num_heads: heads,
    num_kv_heads: kvHeads,
    head_dim: headDim,
  })
  const { vision } = config
  return {
    model_type: config.modelType,
    action_dim: config.actionDim,
    action_horizon: config.actionHorizon,
    max_token_len: config.maxTokenLength,
    vocab_size: config.vocabSize,
    image_keys: config.cameraSlots,
    vision: {
      width: vision.width,
      depth: vision.depth,
      heads: vision.heads,
      mlp_dim: vision.mlpDim,
      patch: vision.patch,
      image_size: vision.imageSize,
      layer_norm_eps: vision.layerNormEps,
    },
    paligemma: gemma(config.prefix),
    action_expert: gemma(config.expert),
    rope_theta: config.ropeTheta,
    rms_norm_eps: config.rmsNormEps,
    time_min_period: config.timeMinPeriod,
    time_max_period: config.timeMaxPeriod,
  }
}

/** Writes a random model directory of a config and gives the path of its weights. */
export function writeModelDirectory(directory: string, config: ModelConfig, seed = 1): string {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'config.json'), JSON.stringify(describe(config)))
  const path = join(directory, 'model.safetensors')
  writeRandomCheckpoint(path, config, { seed, dtype: 'F32' })
  return path
}

/** Deterministic numbers in [-1, 1). */
export function numbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  }
}
