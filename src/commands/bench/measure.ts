import { build as buildHistogram, type Histogram } from 'hdr-histogram-js'
import sharp from 'sharp'
import type { Observation, ObservationImage } from '../../contract/observation.js'
import type { Policy } from '../../policy/policy.js'
import type { Runtime } from '../../runtime/runtime.js'
import { Pipeline } from '../../runtime/scheduling/pipeline.js'

export const STAGES = ['decode', 'prepare', 'vision', 'prefix', 'denoise step', 'total'] as const
export type Stage = (typeof STAGES)[number]

/** Milliseconds. */
export interface Quantiles {
  p50: number
  p99: number
}

/** How long one is measured. */
export interface Measuring {
  /** Denoise steps. */
  steps: number
  rounds: number
  /** Hears how many rounds are over; may throw to give up. */
  onRound: (done: number) => void
}

/** Rounds that warm up and are not counted. */
export const WARM_UP = 5

const seedOf = (round: number) => round + WARM_UP

/** Times every stage of one inference after the other; `total` goes from the encoded images to the robot's actions. */
export async function measureSequential(
  policy: Policy,
  runtime: Runtime,
  { steps, rounds, onRound }: Measuring,
): Promise<Record<Stage, Quantiles>> {
  const observation = await photographed(policy)
  const stages = Object.fromEntries(STAGES.map(stage => [stage, microseconds()])) as Record<Stage, Histogram>
  for (let round = -WARM_UP; round < rounds; round++) {
    const start = performance.now()
    const prepared = await policy.prepare(observation)
    const prefix = await runtime.perceive([prepared.row])
    const { actions, stepMs } = await runtime.act([prefix], [{ steps, noise: seedOf(round) }])
    prefix.release()
    policy.finish(actions, prepared)
    onRound(Math.max(0, round + 1))
    if (round < 0) continue
    record(stages.decode, prepared.timing.decodeMs)
    record(stages.prepare, prepared.timing.prepareMs)
    record(stages.vision, prefix.timing.visionMs)
    record(stages.prefix, prefix.timing.prefixMs)
    for (const ms of stepMs) record(stages['denoise step'], ms)
    record(stages.total, performance.now() - start)
  }
  return Object.fromEntries(
    STAGES.map(stage => [stage, { p50: quantile(stages[stage], 50), p99: quantile(stages[stage], 99) }]),
  ) as Record<Stage, Quantiles>
}

/**
 * Milliseconds from one result to the next while the prefix of each observation is computed as the one before it is
 * denoised. The observation is prepared beforehand: this is the engine alone.
 */
export async function measurePipelined(
  policy: Policy,
  runtime: Runtime,
  { steps, rounds, onRound }: Measuring,
): Promise<number> {
  const { row } = await policy.prepare(await photographed(policy))
  const pipeline = new Pipeline(runtime, { overlap: true })
  const { signal } = new AbortController()
  const end = rounds + WARM_UP
  let started = 0
  let finished = 0
  let warm = 0
  return new Promise((resolve, reject) => {
    const startMore = () => {
      while (pipeline.free && started < end) {
        const sampling = [{ steps, noise: seedOf(started++) }]
        pipeline.run({ rows: [row], sampling, signal }, startMore).then(() => {
          finished++
          onRound(Math.max(0, finished - WARM_UP))
          if (finished === WARM_UP) warm = performance.now()
          if (finished === end) resolve((performance.now() - warm) / rounds)
        }, reject)
      }
    }
    startMore()
  })
}

const microseconds = () =>
  buildHistogram({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 600_000_000,
    numberOfSignificantValueDigits: 3,
  })
const record = (histogram: Histogram, ms: number) => histogram.recordValue(Math.max(1, Math.round(ms * 1000)))
const quantile = (histogram: Histogram, percent: number) => histogram.getValueAtPercentile(percent) / 1000

/** An observation as cameras give it: JPEG files that must be decoded and resized. */
export async function photographed(policy: Policy): Promise<Observation> {
  const [width, height] = [640, 480]
  const images: Record<string, ObservationImage> = {}
  for (const [index, camera] of policy.spec.cameras.entries()) {
    const pixels = new Uint8Array(width * height * 3).map(
      (_, i) => (i * (index + 1) + Math.floor(i / (3 * width))) % 256,
    )
    const bytes = await sharp(pixels, { raw: { width, height, channels: 3 } })
      .jpeg({ quality: 90 })
      .toBuffer()
    images[camera.key] = { kind: 'encoded', bytes }
  }
  const state = Object.fromEntries(policy.spec.state.map(({ key, size }) => [key, new Float64Array(size)]))
  return { images, state, prompt: 'pick up the black bowl and place it on the plate' }
}
