import { reasonOf, TurboPiError } from '../../errors.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import type { Runtime } from '../runtime.js'
import type { BuildSetting } from '../tensorrt/build.js'
import type { NetworkCase } from './run-case.js'
import {
  type CaseDifference,
  differencesFrom,
  type ExpectedCase,
  expectedOf,
  SEEDED_TOLERANCE,
  seededCases,
} from './seeded-cases.js'

/** The worst of all cases, and each one's. */
export interface GateResult extends Omit<CaseDifference, 'name'> {
  passed: boolean
  cases: readonly CaseDifference[]
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

/** Seeds of the gate's inputs. */
const SEEDS = [1, 2, 3]

/** The gate's inputs: the seeded cases, three times with other observations and noise. */
export const gateCases = (config: ModelConfig, maxBatch: number): NetworkCase[] =>
  SEEDS.flatMap(seed => seededCases(config, maxBatch, seed))

/**
 * The worst case. Of cases that share a name the middle one counts: a fault shows in all of them, but a trained policy
 * has forks, where it decides between two motions and correct bfloat16 goes the other way; so the largest error has no
 * limit either, as long as it is finite. NaN is in no order: it passes no limit.
 */
export function judge(cases: readonly CaseDifference[]): GateResult {
  const names = [...new Set(cases.map(({ name }) => name))]
  const worst = (kind: 'most' | 'mean') =>
    Math.max(...names.map(name => middle(cases.filter(one => one.name === name).map(one => one[kind]))))
  const max = Math.max(...cases.map(one => one.max))
  const [most, mean] = [worst('most'), worst('mean')]
  const passed = Number.isFinite(max) && most <= SEEDED_TOLERANCE.most && mean <= SEEDED_TOLERANCE.mean
  return { passed, max, most, mean, cases }
}

const middle = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!

export interface GateLoop {
  settings: readonly BuildSetting[]
  /** Makes the runtime to compare with; it is closed before the first engine is built, for large models' sake. */
  reference(): Promise<Runtime>
  cases: readonly NetworkCase[]
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
  const expected = await expectedOf(reference, loop.cases).finally(() => reference.close())
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
    `No TensorRT engine agrees with the CPU runtime (99 % of the actions within ${SEEDED_TOLERANCE.most}, mean error ${SEEDED_TOLERANCE.mean}), so none is served. Tried ${list}. Try --precision fp32, or another TensorRT version; --runtime cpu serves without TensorRT.`,
  )
}

async function attempt(
  { open }: GateLoop,
  expected: readonly ExpectedCase[],
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
    const result = judge(await differencesFrom(runtime, expected))
    return result.passed ? { result } : { result, refused: errorsOf(result) }
  } catch (error) {
    return { refused: reasonOf(error) }
  } finally {
    await runtime.close()
  }
}

/** "largest error 0.01, 99 % within 0.004, mean 0.002". */
export const errorsOf = ({ max, most, mean }: Pick<GateResult, 'max' | 'most' | 'mean'>) =>
  `largest error ${max.toPrecision(3)}, 99 % within ${most.toPrecision(3)}, mean ${mean.toPrecision(3)}`

/** "optimization level 2 with -peep:…". */
export function describe({ optimizationLevel, flags }: BuildSetting): string {
  return `optimization level ${optimizationLevel}${flags && ` with ${flags}`}`
}
