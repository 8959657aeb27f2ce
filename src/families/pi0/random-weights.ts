import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fillDirectory, requireSpace } from '../../storage/cache.js'
import { elementCount, type TensorToWrite, writeSafetensors } from '../../storage/safetensors.js'
import type { Progress } from '../../storage/tensor-source.js'
import type { ModelConfig } from './config.js'
import { EMBEDDING, expectedTensors, TIED_EMBEDDING } from './tensors.js'

export interface RandomWeightsOptions {
  seed: number
  /** Default BF16, as openpi's converter writes. */
  dtype?: 'BF16' | 'F32'
  /** Hears bytes written each time. */
  onBytes?: (count: number) => void
}

/** Elements made at once. */
const PIECE = 2 ** 22

/** A 32-bit xorshift generator; returns its state after each step, never 0. */
function xorshift(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) | 0 || 1
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state
  }
  for (let i = 0; i < 16; i++) next()
  return next
}

/** FNV-1a of a tensor's name, so that a tensor's values do not depend on those written before it. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  return hash
}

/** Matrices keep the variance of what they multiply; norms and biases stay small. */
function amplitude(shape: readonly number[]): number {
  return shape.length === 1 ? 0.2 : Math.sqrt(3 / (elementCount(shape) / shape[0]!))
}

function* uniform(seed: number, count: number, limit: number, bf16: boolean): Iterable<ArrayBufferView> {
  const next = xorshift(seed)
  const factor = limit / 2 ** 31
  for (let done = 0; done < count; done += PIECE) {
    const values = new Float32Array(Math.min(PIECE, count - done))
    for (let i = 0; i < values.length; i++) values[i] = next() * factor
    if (!bf16) {
      yield values
      continue
    }
    // The low half is cut off: for random numbers there is nothing to round.
    const bits = new Uint32Array(values.buffer)
    const narrow = new Uint16Array(values.length)
    for (let i = 0; i < narrow.length; i++) narrow[i] = bits[i]! >>> 16
    yield narrow
  }
}

/** The float32 values that a tensor of a random checkpoint has. */
export function randomValues(name: string, shape: readonly number[], seed = 0): Float32Array {
  const [values] = uniform(seed ^ hashOf(name), elementCount(shape), amplitude(shape), false)
  return values as Float32Array
}

/**
 * Writes a checkpoint of the given sizes with seeded random weights, in openpi's layout with the tied embedding: for
 * measuring without a download, and for tests. Its actions mean nothing.
 */
export function writeRandomCheckpoint(
  path: string,
  config: ModelConfig,
  { seed, dtype = 'BF16', onBytes }: RandomWeightsOptions,
): void {
  const tensors = new Map<string, TensorToWrite>()
  for (const [canonical, shape] of expectedTensors(config)) {
    const name = canonical === EMBEDDING ? TIED_EMBEDDING : canonical
    tensors.set(name, {
      dtype,
      shape,
      pieces: () => uniform(seed ^ hashOf(name), elementCount(shape), amplitude(shape), dtype === 'BF16'),
    })
  }
  writeSafetensors(path, tensors, { [EMBEDDING]: TIED_EMBEDDING }, onBytes)
}

/** What openpi's converter writes beside the weights of a released model. */
const sideFile = ({ actionDim, actionHorizon }: ModelConfig) => ({
  action_dim: actionDim,
  action_horizon: actionHorizon,
  paligemma_variant: 'gemma_2b',
  action_expert_variant: 'gemma_300m',
  precision: 'bfloat16',
})

/**
 * The weights file of a random checkpoint of a released model's sizes: a directory of the cache in openpi's layout,
 * written on first use. Throws CACHE_FAILED.
 */
export async function randomCheckpoint(
  config: ModelConfig,
  cache: string,
  { seed = 0, onProgress }: { seed?: number; onProgress?: Progress } = {},
): Promise<string> {
  const directory = join(cache, 'random', `${config.modelType}-${seed}`)
  const shapes = [...expectedTensors(config).values()]
  const total = shapes.reduce((sum, shape) => sum + 2 * elementCount(shape), 0)
  await fillDirectory(directory, draft => {
    requireSpace(draft.directory, total)
    writeFileSync(join(draft.directory, 'config.json'), JSON.stringify(sideFile(config)))
    let done = 0
    const onBytes = (count: number) => {
      done += count
      draft.alive()
      onProgress?.(done, total)
    }
    writeRandomCheckpoint(join(draft.directory, 'model.safetensors'), config, { seed, onBytes })
  })
  return join(directory, 'model.safetensors')
}
