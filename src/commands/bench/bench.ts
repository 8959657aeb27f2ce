import { MAX_STEPS } from '../../families/pi0/sampling.js'
import { createRuntime } from '../../runtime/backends.js'
import { ENGINE_SETTINGS } from '../../settings/engine.js'
import { CONFIG_FILE } from '../../settings/general.js'
import { flag, integer, integers } from '../../settings/kinds.js'
import { POLICY_SETTINGS } from '../../settings/policy.js'
import { type Call, command as define, refuse } from '../kit/command.js'
import { configuredPolicy } from '../kit/configured-policy.js'
import { interruptible } from '../kit/interruption.js'
import { machineLine } from '../kit/machine.js'
import { progressBar } from '../kit/progress.js'
import { stageDisplay } from '../kit/stage-display.js'
import { alignedTable } from '../kit/table.js'
import { type Batches, batchTable, measureBatches } from './batches.js'
import { runFull } from './full.js'
import { measurePipelined, measureSequential, type Quantiles, STAGES, type Stage } from './measure.js'

const ROUNDS = 50
/** Of seconds each. */
const FULL_ROUNDS = 5

const OPTIONS = {
  rounds: integer({
    default: ROUNDS,
    otherwise: `${ROUNDS}; ${FULL_ROUNDS} with --full`,
    min: 1,
    max: 1_000_000,
    meaning: 'inferences that are timed, after some that warm up',
  }),
  steps: integers({
    default: [1, 2, 3, 5, 10],
    min: 1,
    max: MAX_STEPS,
    meaning: 'numbers of denoise steps, each timed by itself',
  }),
  batches: flag({
    meaning:
      'times batches of 1, 2, 4 … --max-batch observations, too, with the last of --steps; with --json that is the profile that turbo-pi capacity takes',
  }),
  full: flag({ meaning: 'the full-size model with random weights instead: 20 GB of disk, and minutes' }),
  json: flag({ meaning: 'print JSON' }),
}

const { runtime, precision, threads, pipeline, maxBatch, cacheDir } = ENGINE_SETTINGS

export const command = define(
  {
    name: 'bench',
    forms: ['[--policy DIR] [options]', '--full [options]'],
    about: `
Times every stage of one inference after the other, each camera as a JPEG file of 640 × 480 pixels, for each number of
denoise steps, and prints p50 and p99 in milliseconds and inferences a second, without the wire. Without options: the bundled
policy, in seconds. Where the runtime has two lanes (--pipeline on; the default on GPUs), it also prints the milliseconds from
one result to the next while the prefix of one observation is computed as the one before it is denoised.

--full measures the full-size model with random weights: load, stages, totals and memory, in fp32 and int8 or in the
--precision given.

It measures no server: npm run loadtest does, with many robots. How good a policy is, turbo-pi eval tells; how exact, verify.`,
    options: OPTIONS,
    settings: {
      ...POLICY_SETTINGS,
      runtime,
      precision,
      threads,
      pipeline,
      maxBatch,
      cacheDir,
      ...CONFIG_FILE,
    },
  },
  bench,
)

/** Figures at one number of denoise steps. */
interface Measured {
  steps: number
  stages: Record<Stage, Quantiles>
  /** Milliseconds from one result to the next; absent where the runtime has one lane. */
  pipelinedMs?: number
}

async function bench({ own, config, given }: Call<typeof OPTIONS>): Promise<number> {
  const { rounds } = own
  if (own.full) {
    const ofPolicies = Object.keys(POLICY_SETTINGS).filter(name => name !== 'randomWeights')
    refuse('bench', 'bench --full', given, ['steps', 'batches', ...ofPolicies])
    const count = given.has('rounds') ? rounds : FULL_ROUNDS
    return interruptible(signal => runFull(config, { rounds: count, json: own.json, signal }))
  }
  const policy = await configuredPolicy(config)
  const display = stageDisplay()
  const bar = progressBar('{steps} denoise steps {bar} {value}/{total} rounds')
  try {
    return await interruptible(async signal => {
      // The same picture comes again each round: it is to be encoded each time.
      const onStage = display.show
      const runtime = await createRuntime(policy, {
        ...config,
        visionCache: 0,
        prefixCache: 0,
        onStage,
        signal,
      })
      display.stop()
      try {
        const onRound = (done: number, steps = own.steps.at(-1)!) => {
          signal.throwIfAborted()
          bar.update(done, rounds, { steps })
        }
        const measured: Measured[] = []
        for (const steps of own.steps) {
          const measuring = { steps, rounds, onRound: (done: number) => onRound(done, steps) }
          const stages = await measureSequential(policy, runtime, measuring)
          bar.stop()
          const pipelinedMs = runtime.info.lanes === 2 && (await measurePipelined(policy, runtime, measuring))
          bar.stop()
          measured.push({ steps, stages, ...(pipelinedMs && { pipelinedMs }) })
        }
        const batches: Batches | undefined = own.batches
          ? await measureBatches(policy, runtime, { steps: own.steps.at(-1)!, rounds, onRound })
          : undefined
        bar.stop()
        const { backend, precision, device } = runtime.info
        const machine = machineLine()
        const setting = { policy: policy.name, backend, precision, device, machine, rounds }
        if (own.json) console.log(JSON.stringify({ ...setting, measured, ...batches }))
        else {
          console.log(`${policy.name}, ${backend} ${precision}, ${rounds} rounds; p50 (p99) in ms`)
          console.log(`${machine}; ${device}\n`)
          console.log(table(measured))
          if (batches) console.log(`\n${batchTable(batches)}`)
        }
        return 0
      } finally {
        await runtime.close()
      }
    })
  } finally {
    bar.stop()
    display.stop()
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
