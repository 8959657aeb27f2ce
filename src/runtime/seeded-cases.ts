import type { ModelConfig } from '../model/config.js'
import type { PerceiveRow, Runtime } from './runtime.js'

/** Inputs for comparing one runtime with another where no golden data is at hand. */
export interface SeededCase {
  name: string
  rows: PerceiveRow[]
  /** [rows, actionHorizon, actionDim]. */
  noise: Float32Array
}

/** An error that one denoise step hides can show after ten. */
export const SEEDED_STEPS: readonly number[] = [1, 10]

/**
 * The same cases for the same config and seed: every camera and the longest prompt, one camera and a short prompt, and
 * where a batch may hold them, both together.
 */
export function seededCases(config: ModelConfig, maxBatch: number, seed = 1): SeededCase[] {
  const { cameraSlots, vision, maxTokenLength, vocabSize, modelType, actionHorizon, actionDim } = config
  const uniform = generator(seed)
  const image = () => Uint8Array.from({ length: vision.imageSize ** 2 * 3 }, () => uniform() * 256)
  const row = (cameras: number, tokens: number): PerceiveRow => ({
    images: cameraSlots.map((_, slot) => (slot < cameras ? image() : null)),
    tokens: Int32Array.from({ length: tokens }, () => uniform() * vocabSize),
    ...(modelType === 'pi0' && { state: Float32Array.from({ length: actionDim }, () => 2 * uniform() - 1) }),
  })
  const whole = row(cameraSlots.length, maxTokenLength)
  const small = row(1, Math.min(16, maxTokenLength))
  const groups: [string, PerceiveRow[]][] = [
    ['every camera, longest prompt', [whole]],
    ['one camera, short prompt', [small]],
  ]
  if (maxBatch > 1) groups.push(['a batch of both', [small, whole]])
  return groups.map(([name, rows]) => ({
    name,
    rows,
    noise: Float32Array.from({ length: rows.length * actionHorizon * actionDim }, () => normal(uniform)),
  }))
}

/** The action chunks that a runtime gives for a case, one for each number of denoise steps. */
export async function chunksOf(
  runtime: Runtime,
  { rows, noise }: SeededCase,
  steps: readonly number[] = SEEDED_STEPS,
): Promise<Float32Array[]> {
  const prefix = await runtime.perceive(rows)
  try {
    const chunks: Float32Array[] = []
    for (const count of steps) chunks.push((await runtime.act(prefix, noise, count)).actions)
    return chunks
  } finally {
    prefix.release()
  }
}

/** Uniform numbers in [0, 1) from a linear congruential generator. */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** Near enough to a standard normal number: the sum of twelve uniform ones, centred. */
function normal(uniform: () => number): number {
  let sum = -6
  for (let i = 0; i < 12; i++) sum += uniform()
  return sum
}
