import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { loadavg } from 'node:os'
import { text as textOf } from 'node:stream/consumers'
import type { Config } from '../../config.js'
import { releasedConfig } from '../../families/pi0/config.js'
import type { Precision } from '../../onnx/arithmetic.js'
import { createRuntime } from '../../runtime/backends.js'
import type { Runtime } from '../../runtime/runtime.js'
import { cacheDirectory } from '../../storage/cache.js'
import { randomRow } from '../../verification/observations.js'
import { machineLine } from '../kit/machine.js'
import { writtenWeights } from '../kit/random-policy.js'
import { stageDisplay } from '../kit/stage-display.js'
import { alignedTable } from '../kit/table.js'

const HORIZON = 10
const SCENARIOS = [
  { name: '2 cameras, 64 tokens', cameras: 2, tokens: 64 },
  { name: '3 cameras, 200 tokens', cameras: 3, tokens: 200 },
] as const

/** Milliseconds, best of the rounds. */
interface Timing {
  scenario: string
  visionPerCamera: number
  prefix: number
  denoiseStep: number
  total10: number
  total3: number
}

/** What one process measured with one precision. */
interface Measurement {
  precision: Precision
  device: string
  loadMs: number
  timings: Timing[]
  peakResidentGigabytes: number
}

interface Full {
  rounds: number
  json: boolean
  signal: AbortSignal
}

/**
 * The table of the full-size model with random weights. Each precision is measured in a process of its own, so that its
 * memory is its own.
 */
export async function runFull(config: Config, { rounds, json, signal }: Full): Promise<number> {
  if (process.env[MEASURES]) {
    console.log(JSON.stringify(await measure(config, config.precision as Precision, rounds)))
    return 0
  }
  const precisions = config.precision === 'auto' ? (['fp32', 'int8'] as const) : [config.precision]
  const measurements: Measurement[] = []
  for (const precision of precisions) measurements.push(await measureApart(precision, rounds, signal))
  console.log(json ? JSON.stringify(measurements) : table(measurements, rounds))
  return 0
}

/** Says that a process is one that measures, by the options that its parent was given. */
const MEASURES = '__TURBO_PI_MEASURES'

/** Measures in a child process, which ends with this one. */
async function measureApart(precision: Precision, rounds: number, signal: AbortSignal): Promise<Measurement> {
  const child = spawn(
    process.execPath,
    [...process.execArgv, ...process.argv.slice(1), '--rounds', String(rounds), '--precision', precision],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, [MEASURES]: '1' }, signal },
  )
  const [stdout, [code]] = await Promise.all([textOf(child.stdout!), once(child, 'close')])
  if (code !== 0) throw new Error(`the measurement of ${precision} ended with code ${code}`)
  return JSON.parse(stdout) as Measurement
}

async function measure(config: Config, precision: Precision, rounds: number): Promise<Measurement> {
  const modelType = config.randomWeights === 'off' ? 'pi05' : config.randomWeights
  const model = { ...releasedConfig(modelType), actionHorizon: HORIZON, maxTokenLength: 200 }
  const cache = config.cacheDir ?? cacheDirectory()
  const weightsPath = await writtenWeights(modelType, model, cache)
  let lowered = false
  const display = stageDisplay()
  const start = () =>
    createRuntime(
      { weightsPath, model },
      {
        ...config,
        precision,
        maxBatch: 1,
        visionCache: 0,
        prefixCache: 0,
        onStage: stage => {
          lowered ||= stage.name === 'lowering the weights'
          display.show(stage)
        },
      },
    )
  let started = performance.now()
  let runtime = await start()
  if (lowered) {
    await runtime.close()
    started = performance.now()
    runtime = await start()
  }
  const loadMs = performance.now() - started
  display.stop()
  try {
    const timings: Timing[] = []
    for (const scenario of SCENARIOS) timings.push(await time(runtime, scenario, rounds))
    return {
      precision,
      device: runtime.info.device,
      loadMs,
      timings,
      peakResidentGigabytes: (process.resourceUsage().maxRSS * 1024) / 1e9,
    }
  } finally {
    await runtime.close()
  }
}

async function time(
  runtime: Runtime,
  { name, cameras, tokens }: (typeof SCENARIOS)[number],
  rounds: number,
): Promise<Timing> {
  const { config } = runtime.info
  const row = randomRow(config, 0, { cameras, tokens })
  const best: Timing = {
    scenario: name,
    visionPerCamera: Number.POSITIVE_INFINITY,
    prefix: Number.POSITIVE_INFINITY,
    denoiseStep: Number.POSITIVE_INFINITY,
    total10: Number.POSITIVE_INFINITY,
    total3: Number.POSITIVE_INFINITY,
  }
  // The first round warms up.
  for (let round = -1; round < rounds; round++) {
    const start = performance.now()
    const prefix = await runtime.perceive([row])
    const perceiveMs = performance.now() - start
    const { stepMs } = await runtime.act([prefix], [{ steps: 10, noise: 0 }])
    const total10 = performance.now() - start
    const again = performance.now()
    await runtime.act([prefix], [{ steps: 3, noise: 0 }])
    const total3 = perceiveMs + performance.now() - again
    prefix.release()
    if (round < 0) continue
    const { visionMs, prefixMs } = prefix.timing
    const seen = {
      visionPerCamera: visionMs / cameras,
      prefix: prefixMs,
      denoiseStep: Math.min(...stepMs),
      total10,
      total3,
    }
    for (const key of Object.keys(seen) as (keyof typeof seen)[]) best[key] = Math.min(best[key], seen[key])
  }
  return best
}

function table(measurements: readonly Measurement[], rounds: number): string {
  const head = measurements.flatMap(({ precision, timings }) =>
    timings.map(({ scenario }) => `${precision}, ${scenario}`),
  )
  const cells = (name: string, figure: (timing: Timing, measurement: Measurement) => string) => [
    name,
    ...measurements.flatMap(measurement => measurement.timings.map(timing => figure(timing, measurement))),
  ]
  const [load] = loadavg()
  return [
    `Full-size model, random weights, horizon ${HORIZON}; milliseconds, best of ${rounds} rounds`,
    `${measurements[0]!.device}; ${machineLine()}; load average ${load!.toFixed(1)}\n`,
    alignedTable(
      ['', ...head],
      [
        cells('load', (_, { loadMs }) => loadMs.toFixed(0)),
        cells('vision, each camera', ({ visionPerCamera }) => visionPerCamera.toFixed(0)),
        cells('prefix', ({ prefix }) => prefix.toFixed(0)),
        cells('denoise step', ({ denoiseStep }) => denoiseStep.toFixed(0)),
        cells('total, 10 steps', ({ total10 }) => total10.toFixed(0)),
        cells('total, 3 steps', ({ total3 }) => total3.toFixed(0)),
        cells('peak resident, GB', (_, { peakResidentGigabytes }) => peakResidentGigabytes.toFixed(1)),
      ],
    ),
  ].join('\n')
}
