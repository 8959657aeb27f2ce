import { type ErrorCode, reasonOf, TurboPiError } from '../../errors.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import type { Arithmetic } from '../../onnx/arithmetic.js'
import type { Runtime } from '../runtime.js'
import type { NetworkCase } from './run-case.js'
import {
  type CaseDifference,
  differencesFrom,
  type ExpectedCase,
  expectedOf,
  seededCases,
} from './seeded-cases.js'

type GateTolerance = Arithmetic['tolerance']['gate']

/** The worst of all cases, and each one's. */
export interface GateResult extends Omit<CaseDifference, 'name'> {
  passed: boolean
  cases: readonly CaseDifference[]
}

/** A setting that was tried. */
export interface GateAttempt<Setting> {
  setting: Setting
  /** Why it was not taken: the errors, or the reason that it could not be built. Absent when it passed. */
  refused?: string
  /** Absent when nothing could be compared. */
  result?: GateResult
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
export function judge(cases: readonly CaseDifference[], tolerance: GateTolerance): GateResult {
  const names = [...new Set(cases.map(({ name }) => name))]
  const worst = (kind: 'most' | 'mean') =>
    Math.max(...names.map(name => middle(cases.filter(one => one.name === name).map(one => one[kind]))))
  const max = Math.max(...cases.map(one => one.max))
  const [most, mean] = [worst('most'), worst('mean')]
  const passed = Number.isFinite(max) && most <= tolerance.max && mean <= tolerance.mean
  return { passed, max, most, mean, cases }
}

const middle = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!

/** What a backend is asked for before its results may be served. */
export interface Gate<Setting> {
  /** The backend, as sentences call it. */
  title: string
  /** Ways to build it, in the order in which they are tried. */
  settings: readonly Setting[]
  describe(setting: Setting): string
  /** What its user may try when none passes, as a sentence. */
  advice: string
  tolerance: GateTolerance
  cases: readonly NetworkCase[]
  /** Makes the runtime to compare with; it is closed before the first build, for large models' sake. */
  reference(): Promise<Runtime>
  /** Builds under a setting and opens what was built. The runtime is closed here. */
  open(setting: Setting): Promise<Runtime>
  onAttempt?: (attempt: GateAttempt<Setting>) => void
}

/**
 * The first setting whose runtime agrees with the reference. A build that fails or crashes counts as not agreeing. Throws
 * RUNTIME_UNAVAILABLE with all attempts when none agrees, or at once where no setting could be built, and REQUEST_CANCELLED when
 * the build is called off.
 */
export async function passingSetting<Setting>(
  gate: Gate<Setting>,
): Promise<{ setting: Setting; result: GateResult }> {
  const { title, tolerance, describe } = gate
  const reference = await gate.reference()
  const expected = await expectedOf(reference, gate.cases).finally(() => reference.close())
  const attempts: GateAttempt<Setting>[] = []
  for (const setting of gate.settings) {
    const attempt = { setting, ...(await tried(gate, expected, setting)) }
    attempts.push(attempt)
    gate.onAttempt?.(attempt)
    if (attempt.result?.passed) return { setting, result: attempt.result }
  }
  const list = attempts.map(({ setting, refused }) => `${describe(setting)}: ${refused}`).join('; ')
  throw new TurboPiError(
    'RUNTIME_UNAVAILABLE',
    `The ${title} runtime does not agree with the CPU runtime (99 % of the actions within ${tolerance.max}, mean error ${tolerance.mean}), so it is not served. Tried ${list}. ${gate.advice} --runtime cpu serves without a GPU.`,
  )
}

/** What another setting would not change. */
const ENDS_IT: readonly ErrorCode[] = ['REQUEST_CANCELLED', 'RUNTIME_UNAVAILABLE']

async function tried<Setting>(
  { open, tolerance }: Gate<Setting>,
  expected: readonly ExpectedCase[],
  setting: Setting,
): Promise<{ refused?: string; result?: GateResult }> {
  let runtime: Runtime
  try {
    runtime = await open(setting)
  } catch (error) {
    if (error instanceof TurboPiError && ENDS_IT.includes(error.code)) throw error
    return { refused: reasonOf(error) }
  }
  try {
    const result = judge(await differencesFrom(runtime, expected), tolerance)
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
