import type { ModelConfig } from '../../families/pi0/config.js'
import { samplingRows } from '../../families/pi0/sampling.js'
import type { PerceiveRow, Runtime } from '../runtime.js'
import { type Difference, difference } from './difference.js'

/** Inputs for comparing one runtime with another where no golden data is at hand. */
export interface SeededCase {
  name: string
  rows: PerceiveRow[]
  /** [rows, actionHorizon, actionDim]. */
  noise: Float32Array
  /** Numbers of denoise steps; default `SEEDED_STEPS`. */
  steps?: readonly number[]
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

async function chunksOf(runtime: Runtime, { rows, noise, steps = SEEDED_STEPS }: SeededCase) {
  const prefix = await runtime.perceive(rows)
  try {
    const chunks: Float32Array[] = []
    for (const count of steps)
      chunks.push((await runtime.act(prefix, samplingRows(noise, rows.length, count))).actions)
    return chunks
  } finally {
    prefix.release()
  }
}

/** A case, and the chunks that an engine has to give. */
export type ExpectedCase = SeededCase & { expected: Float32Array[] }

/** The cases with what `reference` makes of them. */
export async function expectedOf(reference: Runtime, cases: readonly SeededCase[]): Promise<ExpectedCase[]> {
  const all: ExpectedCase[] = []
  for (const one of cases) all.push({ ...one, expected: await chunksOf(reference, one) })
  return all
}

/** Differences of the actions of one case at one number of steps. */
export interface CaseDifference extends Difference {
  name: string
  /** What 99 of 100 values stay within. */
  most: number
}

/** How far the actions of a runtime are from those expected, for every case and number of steps. */
export async function differencesFrom(
  runtime: Runtime,
  cases: readonly ExpectedCase[],
): Promise<CaseDifference[]> {
  const all: CaseDifference[] = []
  for (const one of cases) {
    const chunks = await chunksOf(runtime, one)
    for (const [k, count] of (one.steps ?? SEEDED_STEPS).entries())
      all.push({
        name: `${one.name}, ${count} ${count === 1 ? 'step' : 'steps'}`,
        ...difference(chunks[k]!, one.expected[k]!),
        most: percentile99(chunks[k]!, one.expected[k]!),
      })
  }
  return all
}

/** The absolute difference that 99 of 100 elements stay within; NaN when any is NaN. */
function percentile99(actual: Float32Array, expected: Float32Array): number {
  const differences = actual.map((value, i) => Math.abs(value - expected[i]!)).sort()
  return Number.isNaN(differences.at(-1))
    ? Number.NaN
    : differences[Math.ceil(0.99 * differences.length) - 1]!
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
