import { loadConfig } from '../../config.js'
import { MAX_STEPS } from '../../families/pi0/sampling.js'
import { createRuntime } from '../../runtime/backends.js'
import { bytesProgress } from '../kit/bytes-progress.js'
import { configuredPolicy } from '../kit/configured-policy.js'
import { machineLine } from '../kit/machine.js'
import { flag, integer, integers, takeOptions } from '../kit/options.js'
import { alignedTable } from '../kit/table.js'
import { runFull } from './full.js'
import { measurePipelined, measureSequential, type Quantiles, STAGES, type Stage } from './measure.js'

export const help = `turbo-pi bench [--rounds 50] [--steps 1,2,3,5,10] [options of serve]

Times every stage of one inference after the other, each camera as a JPEG file of 640 × 480 pixels, for each number of
denoise steps, and prints p50 and p99 in milliseconds and inferences a second, without the wire. Where the runtime has
two lanes (--pipeline on; the default on GPUs), it also prints the milliseconds from one result to the next while the
prefix of one observation is computed as the one before it is denoised. --json prints JSON.

--full measures the full-size model with random weights instead: load, stages, totals and memory in fp32 and int8.`

const OPTIONS = {
  rounds: integer(50, 1, 1_000_000),
  steps: integers([1, 2, 3, 5, 10], 1, MAX_STEPS),
  json: flag(),
  full: flag(),
}

/** Rounds of seconds each. */
const FULL_ROUNDS = 5

/** Figures at one number of denoise steps. */
interface Measured {
  steps: number
  stages: Record<Stage, Quantiles>
  /** Milliseconds from one result to the next; absent where the runtime has one lane. */
  pipelinedMs?: number
}

export async function run(argv: string[]): Promise<number> {
  const { own, rest } = takeOptions(argv, OPTIONS)
  const { rounds } = own
  const config = loadConfig(rest)
  if (own.full) return runFull(config, Math.min(rounds, FULL_ROUNDS), rest)
  const policy = await configuredPolicy(config)
  try {
    // The same picture comes again each round: it is to be encoded each time.
    const onProgress = bytesProgress('Lowering the checkpoint')
    const runtime = await createRuntime(policy, { ...config, visionCache: 0, onProgress })
    try {
      const measured: Measured[] = []
      for (const steps of own.steps) {
        const stages = await measureSequential(policy, runtime, { steps, rounds })
        const pipelinedMs =
          runtime.info.lanes === 2 && (await measurePipelined(policy, runtime, { steps, rounds }))
        measured.push({ steps, stages, ...(pipelinedMs && { pipelinedMs }) })
      }
      const { backend, precision, device } = runtime.info
      const machine = machineLine()
      const setting = { policy: policy.name, backend, precision, device, machine, rounds }
      if (own.json) console.log(JSON.stringify({ ...setting, measured }))
      else {
        console.log(`${policy.name}, ${backend} ${precision}, ${rounds} rounds; p50 (p99) in ms`)
        console.log(`${machine}; ${device}\n`)
        console.log(table(measured))
      }
      return 0
    } finally {
      await runtime.close()
    }
  } finally {
    await policy.close()
  }
}

function table(measured: readonly Measured[]): string {
  const pipelined = measured.some(({ pipelinedMs }) => pipelinedMs !== undefined)
  const head = ['steps', ...STAGES, 'Hz', ...(pipelined ? ['pipelined engine', 'Hz'] : [])]
  const rows = measured.map(({ steps, stages, pipelinedMs }) => [
    String(steps),
    ...STAGES.map(stage => `${stages[stage].p50.toFixed(2)} (${stages[stage].p99.toFixed(2)})`),
    hertz(stages.total.p50),
    ...(pipelinedMs === undefined ? [] : [pipelinedMs.toFixed(2), hertz(pipelinedMs)]),
  ])
  return alignedTable(head, rows)
}

const hertz = (ms: number) => (1000 / ms).toFixed(1)
