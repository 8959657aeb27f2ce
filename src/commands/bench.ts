import { cpus, totalmem } from 'node:os'
import { build as buildHistogram, type Histogram } from 'hdr-histogram-js'
import sharp from 'sharp'
import { loadConfig } from '../config.js'
import type { Observation, ObservationImage } from '../contract/observation.js'
import { seededNoise } from '../policy/noise.js'
import type { Policy } from '../policy/policy.js'
import { createRuntime } from '../runtime/create.js'
import { runFull } from './bench-full.js'
import { configuredPolicy } from './configured-policy.js'
import { takeOptions } from './options.js'
import { progressBar } from './progress.js'

export const help = `turbo-pi bench [--rounds 50] [--steps 10] [options of serve]

Times every stage of one inference after the other, each camera as a JPEG file of 640 × 480 pixels, and prints
p50 and p99 in milliseconds. --json prints the same as JSON.

--full measures the full-size model with random weights instead: load, stages, totals and memory in fp32 and int8.`

const OPTIONS = {
  rounds: { type: 'string', default: '50' },
  steps: { type: 'string', default: '10' },
  json: { type: 'boolean', default: false },
  full: { type: 'boolean', default: false },
} as const

/** Rounds of seconds each. */
const FULL_ROUNDS = 5

const STAGES = ['decode', 'prepare', 'vision', 'prefix', 'denoise step', 'total'] as const
type Stage = (typeof STAGES)[number]

export async function run(argv: string[]): Promise<number> {
  const { own: given, rest } = takeOptions(argv, OPTIONS)
  const own = { rounds: Number(given.rounds), steps: Number(given.steps), json: given.json }
  const config = loadConfig(rest)
  if (given.full) return runFull(config, Math.min(own.rounds, FULL_ROUNDS), rest)
  const policy = await configuredPolicy(config)
  // The same picture comes again each round: it is to be encoded each time.
  const runtime = await createRuntime(policy, {
    ...config,
    visionCache: 0,
    onProgress: progressBar('Lowering the checkpoint'),
  })
  const { actionHorizon, actionDim } = policy.model
  const observation = await photographed(policy)
  const stages = Object.fromEntries(STAGES.map(stage => [stage, microseconds()])) as Record<Stage, Histogram>
  try {
    for (let round = -5; round < own.rounds; round++) {
      const start = performance.now()
      const prepared = await policy.prepare(observation)
      const prefix = await runtime.perceive([
        {
          images: prepared.images,
          tokens: prepared.tokens,
          state: Float32Array.from(prepared.normalisedState),
        },
      ])
      const { actions, stepMs } = await runtime.act(
        prefix,
        seededNoise(round + 5, actionHorizon * actionDim),
        own.steps,
      )
      prefix.release()
      policy.finish(actions, prepared)
      if (round < 0) continue
      record(stages.decode, prepared.timing.decodeMs)
      record(stages.prepare, prepared.timing.prepareMs)
      record(stages.vision, prefix.timing.visionMs)
      record(stages.prefix, prefix.timing.prefixMs)
      for (const ms of stepMs) record(stages['denoise step'], ms)
      record(stages.total, performance.now() - start)
    }
  } finally {
    await runtime.close()
    await policy.close()
  }
  const rows = STAGES.map(stage => ({
    stage,
    p50: quantile(stages[stage], 50),
    p99: quantile(stages[stage], 99),
  }))
  const { backend, precision, device } = runtime.info
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`
  if (own.json)
    console.log(JSON.stringify({ policy: policy.name, backend, precision, device, machine, ...own, rows }))
  else {
    console.log(`${policy.name}, ${backend} ${precision}, ${own.steps} steps, ${own.rounds} rounds`)
    console.log(`${machine}; ${device}\n`)
    console.log('| stage | p50 ms | p99 ms |\n|---|---|---|')
    for (const { stage, p50, p99 } of rows)
      console.log(`| ${stage} | ${p50.toFixed(2)} | ${p99.toFixed(2)} |`)
  }
  return 0
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
async function photographed(policy: Policy): Promise<Observation> {
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
