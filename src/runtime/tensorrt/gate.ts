import { reasonOf, TurboPiError } from '../../errors.js'
import { type Difference, difference, REDUCED_TOLERANCE } from '../difference.js'
import type { Runtime } from '../runtime.js'
import { chunksOf, SEEDED_STEPS, type SeededCase } from '../seeded-cases.js'
import type { BuildSetting } from './build.js'

/** One batch that both runtimes run, over each number of denoise steps: 1 and 10 unless it says others. */
export interface GateCase extends SeededCase {
  steps?: readonly number[]
}

/** The worst of all cases, and each one's. */
export interface GateResult extends Difference {
  passed: boolean
  cases: (Difference & { name: string })[]
}

export interface GateAttempt extends BuildSetting {
  /** Why it was not taken: the errors, or the reason that it could not be built. Absent when it passed. */
  refused?: string
  /** Absent when nothing could be compared. */
  result?: GateResult
}

/** Switches that keep TensorRT 10.13/10.14 on Thor from fusing parallel products wrongly at batch 1. */
const FUSION_OFF = '-peep:fc_h_fusion=off -peep:match_dual_gemm=off'

/** Settings to try in turn. Jetson Thor starts where its known faults are avoided. */
export function settingsFor(computeCapability: string): BuildSetting[] {
  const at = (flags: string, ...levels: number[]) =>
    levels.map(optimizationLevel => ({ optimizationLevel, flags }))
  return computeCapability === '11.0'
    ? at(FUSION_OFF, 2, 1, 0)
    : [...at('', 3), ...at(FUSION_OFF, 3), ...at('', 2), ...at(FUSION_OFF, 2, 1)]
}

/** What a runtime answers to every case: a chunk for each number of steps. */
async function answersOf(runtime: Runtime, cases: readonly GateCase[]): Promise<Float32Array[][]> {
  const answers: Float32Array[][] = []
  for (const one of cases) answers.push(await chunksOf(runtime, one, one.steps))
  return answers
}

function compare(
  answers: readonly Float32Array[][],
  expected: readonly Float32Array[][],
  cases: readonly GateCase[],
): GateResult {
  const all = cases.flatMap(({ name, steps = SEEDED_STEPS }, i) =>
    steps.map((count, k) => ({
      name: `${name}, ${count} ${count === 1 ? 'step' : 'steps'}`,
      ...difference(answers[i]![k]!, expected[i]![k]!),
    })),
  )
  const max = Math.max(...all.map(one => one.max))
  const mean = Math.max(...all.map(one => one.mean))
  // NaN is in no order: it passes no limit.
  return { passed: max <= REDUCED_TOLERANCE.max && mean <= REDUCED_TOLERANCE.mean, max, mean, cases: all }
}

export interface GateLoop {
  settings: readonly BuildSetting[]
  /** Makes the runtime to compare with; it is closed before the first engine is built, for large models' sake. */
  reference(): Promise<Runtime>
  cases: readonly GateCase[]
  /** Builds under a setting and opens what was built. The runtime is closed here. */
  open(setting: BuildSetting): Promise<Runtime>
  onAttempt?: (attempt: GateAttempt) => void
}

/**
 * The first setting whose engines agree with the reference. A build that fails or crashes counts as not agreeing. Throws
 * RUNTIME_UNAVAILABLE with all attempts when none agrees, and REQUEST_CANCELLED when the build is called off.
 */
export async function passingSetting(loop: GateLoop): Promise<{ setting: BuildSetting; result: GateResult }> {
  const reference = await loop.reference()
  const expected = await answersOf(reference, loop.cases).finally(() => reference.close())
  const attempts: GateAttempt[] = []
  for (const setting of loop.settings) {
    const { refused, result } = await attempt(loop, expected, setting)
    attempts.push({ ...setting, ...(refused && { refused }), ...(result && { result }) })
    loop.onAttempt?.(attempts.at(-1)!)
    if (result?.passed) return { setting, result }
  }
  const list = attempts.map(one => `${describe(one)}: ${one.refused}`).join('; ')
  throw new TurboPiError(
    'RUNTIME_UNAVAILABLE',
    `No TensorRT engine agrees with the CPU runtime (largest error ${REDUCED_TOLERANCE.max}, mean ${REDUCED_TOLERANCE.mean}), so none is served. Tried ${list}. Try --precision fp32, or another TensorRT version; --runtime cpu serves without TensorRT.`,
  )
}

async function attempt(
  { cases, open }: GateLoop,
  expected: readonly Float32Array[][],
  setting: BuildSetting,
): Promise<{ refused?: string; result?: GateResult }> {
  let runtime: Runtime
  try {
    runtime = await open(setting)
  } catch (error) {
    if (error instanceof TurboPiError && error.code === 'REQUEST_CANCELLED') throw error
    return { refused: reasonOf(error) }
  }
  try {
    const result = compare(await answersOf(runtime, cases), expected, cases)
    return result.passed ? { result } : { result, refused: errorsOf(result) }
  } catch (error) {
    return { refused: reasonOf(error) }
  } finally {
    await runtime.close()
  }
}

/** "largest error 0.01, mean 0.002". */
export const errorsOf = ({ max, mean }: Difference) =>
  `largest error ${max.toPrecision(3)}, mean ${mean.toPrecision(3)}`

/** "optimization level 2 with -peep:…". */
export function describe({ optimizationLevel, flags }: BuildSetting): string {
  return `optimization level ${optimizationLevel}${flags && ` with ${flags}`}`
}
