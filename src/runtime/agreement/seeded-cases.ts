import type { ModelConfig } from '../../families/pi0/config.js'
import { samplingRows } from '../../families/pi0/sampling.js'
import { variantOf } from '../../families/pi0/variant.js'
import type { PerceiveRow, Runtime } from '../runtime.js'
import { type Difference, difference } from './difference.js'
import { type CaseTensors, type NetworkCase, runCase } from './run-case.js'

/** An error that one denoise step hides can show after ten. */
const SEEDED_STEPS: readonly number[] = [1, 10]

/**
 * Inputs for comparing one runtime with another where no golden data is at hand; the same for the same config and seed:
 * every camera and the longest prompt, one camera and a short prompt, and where a batch may hold them, both together.
 */
export function seededCases(config: ModelConfig, maxBatch: number, seed = 1): NetworkCase[] {
  const { cameraSlots, vision, maxTokenLength, vocabSize, actionHorizon, actionDim } = config
  const uniform = generator(seed)
  const image = () => Uint8Array.from({ length: vision.imageSize ** 2 * 3 }, () => uniform() * 256)
  const row = (cameras: number, tokens: number): PerceiveRow => ({
    images: cameraSlots.map((_, slot) => (slot < cameras ? image() : null)),
    tokens: Int32Array.from({ length: tokens }, () => uniform() * vocabSize),
    ...(variantOf(config).stateToken && {
      state: Float32Array.from({ length: actionDim }, () => 2 * uniform() - 1),
    }),
  })
  const whole = row(cameraSlots.length, maxTokenLength)
  const small = row(1, Math.min(16, maxTokenLength))
  const groups: [string, PerceiveRow[]][] = [
    ['every camera, longest prompt', [whole]],
    ['one camera, short prompt', [small]],
  ]
  if (maxBatch > 1) groups.push(['a batch of both', [small, whole]])
  return groups.map(([name, rows]) => {
    const size = rows.length * actionHorizon * actionDim
    const noise = Float32Array.from({ length: size }, () => normal(uniform))
    return { name, rows, runs: SEEDED_STEPS.map(steps => samplingRows(noise, rows.length, steps)) }
  })
}

/** A case, and what an engine has to give for each of its runs. */
export type ExpectedCase = NetworkCase & { expected: CaseTensors[] }

/** The cases with what `reference` makes of them. */
export async function expectedOf(reference: Runtime, cases: readonly NetworkCase[]): Promise<ExpectedCase[]> {
  const all: ExpectedCase[] = []
  for (const one of cases) all.push({ ...one, expected: await runCase(reference, one) })
  return all
}

/** Differences of the actions of one run of a case. */
export interface CaseDifference extends Difference {
  name: string
  /** What 99 of 100 values stay within. */
  most: number
}

/** How far the actions of a runtime are from those expected, for every run of every case. */
export async function differencesFrom(
  runtime: Runtime,
  cases: readonly ExpectedCase[],
): Promise<CaseDifference[]> {
  const all: CaseDifference[] = []
  for (const one of cases) {
    for (const [k, { actions }] of (await runCase(runtime, one)).entries()) {
      const { steps } = one.runs[k]![0]!
      const expected = one.expected[k]!.actions
      all.push({
        name: `${one.name}, ${steps} ${steps === 1 ? 'step' : 'steps'}`,
        ...difference(actions, expected),
        most: percentile99(actions, expected),
      })
    }
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
