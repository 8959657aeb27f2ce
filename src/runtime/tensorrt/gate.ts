import { reasonOf, TurboPiError } from '../../errors.js'
import { type ModelConfig, tokensPerImage } from '../../model/config.js'
import { REDUCED_TOLERANCE } from '../difference.js'
import type { PerceiveRow, Runtime } from '../runtime.js'
import type { BuildSetting } from './build.js'

/** Largest and mean absolute error of actions that an engine may have against the float32 CPU runtime. */
export const GATE_LIMITS = REDUCED_TOLERANCE

/** One batch that both runtimes run. */
export interface GateCase {
  name: string
  rows: readonly PerceiveRow[]
  /** [rows, actionHorizon, actionDim]. */
  noise: Float32Array
  steps: number
}

export interface GateResult {
  passed: boolean
  max: number
  mean: number
  cases: { name: string; max: number; mean: number }[]
}

export interface GateAttempt extends BuildSetting {
  /** Why it was not taken: the errors, or the reason that it could not be built. Absent when it passed. */
  refused?: string
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

/**
 * Inputs to compare with where no recorded ones are given: seeded pictures and tokens, over 1 and 10 steps, since an
 * error that one step hides shows after ten; with all cameras and a long prompt, and with one camera and a short one.
 */
export function gateCases(config: ModelConfig): GateCase[] {
  const { cameraSlots, maxTokenLength, vision, actionHorizon, actionDim, vocabSize } = config
  const random = seeded(7)
  const row = (cameras: number, tokens: number): PerceiveRow => ({
    images: cameraSlots.map((_, slot) =>
      slot < cameras ? Uint8Array.from({ length: vision.imageSize ** 2 * 3 }, () => random() * 256) : null,
    ),
    tokens: Int32Array.from({ length: tokens }, () => random() * vocabSize),
    ...(config.modelType === 'pi0' && {
      state: Float32Array.from({ length: actionDim }, () => 2 * random() - 1),
    }),
  })
  const noise = () => Float32Array.from({ length: actionHorizon * actionDim }, () => normal(random))
  const full = [row(cameraSlots.length, Math.min(maxTokenLength, Math.max(1, maxTokenLength - 3)))]
  const short = [row(1, Math.min(maxTokenLength, 9))]
  return [
    { name: 'all cameras, long prompt, 1 step', rows: full, noise: noise(), steps: 1 },
    { name: 'all cameras, long prompt, 10 steps', rows: full, noise: noise(), steps: 10 },
    {
      name: `one camera of ${tokensPerImage(config)} tokens, short prompt, 10 steps`,
      rows: short,
      noise: noise(),
      steps: 10,
    },
  ]
}

/** mulberry32: numbers in [0, 1) that are the same on every machine. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const normal = (random: () => number) =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

/** Runs every case on both runtimes and compares the actions. A value that is not finite never passes. */
export async function compareRuntimes(
  reference: Runtime,
  candidate: Runtime,
  cases: readonly GateCase[],
): Promise<GateResult> {
  const results: GateResult['cases'] = []
  for (const { name, rows, noise, steps } of cases) {
    const expected = await infer(reference, rows, noise, steps)
    const got = await infer(candidate, rows, noise, steps)
    const errors = expected.map((value, i) => Math.abs(got[i]! - value))
    const max = errors.some(error => !Number.isFinite(error)) ? Number.POSITIVE_INFINITY : Math.max(...errors)
    results.push({ name, max, mean: errors.reduce((sum, error) => sum + error, 0) / errors.length })
  }
  const max = Math.max(...results.map(result => result.max))
  const mean = Math.max(...results.map(result => result.mean))
  return { passed: max <= GATE_LIMITS.max && mean <= GATE_LIMITS.mean, max, mean, cases: results }
}

async function infer(runtime: Runtime, rows: readonly PerceiveRow[], noise: Float32Array, steps: number) {
  const prefix = await runtime.perceive(rows)
  try {
    return (await runtime.act(prefix, noise, steps)).actions
  } finally {
    prefix.release()
  }
}

export interface GateLoop {
  settings: readonly BuildSetting[]
  reference: Runtime
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
  const attempts: GateAttempt[] = []
  for (const setting of loop.settings) {
    const { refused, result } = await attempt(loop, setting)
    attempts.push({ ...setting, ...(refused && { refused }) })
    loop.onAttempt?.(attempts.at(-1)!)
    if (result?.passed) return { setting, result }
  }
  const list = attempts.map(one => `${describe(one)}: ${one.refused}`).join('; ')
  throw new TurboPiError(
    'RUNTIME_UNAVAILABLE',
    `No TensorRT engine agrees with the CPU runtime (largest error ${GATE_LIMITS.max}, mean ${GATE_LIMITS.mean}), so none is served. Tried ${list}. Try --precision fp32, or another TensorRT version; --runtime cpu serves without TensorRT.`,
  )
}

async function attempt({ reference, cases, open }: GateLoop, setting: BuildSetting) {
  let runtime: Runtime
  try {
    runtime = await open(setting)
  } catch (error) {
    if (error instanceof TurboPiError && error.code === 'REQUEST_CANCELLED') throw error
    return { refused: reasonOf(error) }
  }
  try {
    const result = await compareRuntimes(reference, runtime, cases)
    const errors = `largest error ${result.max.toPrecision(3)}, mean ${result.mean.toPrecision(3)}`
    return result.passed ? { result } : { result, refused: errors }
  } catch (error) {
    return { refused: reasonOf(error) }
  } finally {
    await runtime.close()
  }
}

/** "level 2 with -peep:…". */
export function describe({ optimizationLevel, flags }: BuildSetting): string {
  return `optimization level ${optimizationLevel}${flags && ` with ${flags}`}`
}
