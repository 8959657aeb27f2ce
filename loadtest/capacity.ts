import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import type { Profile } from '../src/capacity/profile.js'
import { machineLine } from '../src/commands/kit/machine.js'
import { flag, integer, number, readOptions, text } from '../src/commands/kit/options.js'
import { alignedTable } from '../src/commands/kit/table.js'
import { built } from './built.js'
import { ServerProcess } from './child.js'
import { streamLoad } from './drivers.js'
import { createEngine, type Engine } from './engines.js'
import { framesFor, type RobotFrames } from './observations.js'
import { column } from './table.js'

const { measureBatches } =
  await built<typeof import('../src/commands/bench/batches.js')>('commands/bench/batches.js')
const { simulateReplica } = await built<typeof import('../src/capacity/replica.js')>('capacity/replica.js')
const { summarised } = await built<typeof import('../src/capacity/summary.js')>('capacity/summary.js')
const { percentile, quantile, timesOf } =
  await built<typeof import('../src/capacity/times.js')>('capacity/times.js')
const { RequestParser } = await built<typeof import('../src/contract/parse.js')>('contract/parse.js')
const { decodeMsgpack } = await built<typeof import('../src/contract/msgpack.js')>('contract/msgpack.js')

const HELP = `npm run loadtest:capacity -- [options]: compares what turbo-pi capacity simulates with what robots see

In pairs, whose order changes, lets robots ask a server for a while, and measures the service times of its engine and of the server
around it and simulates the same. Prints p50 and p99 of the answers' ages in both, and the medians of their ratios.

  --engine NAME    bundled: the bundled policy on the CPU; else milliseconds of a pretended inference  [bundled]
  --max-batch N    rows that share one inference                                                     [8]
  --robots N       1 to 256                                                                          [8]
  --hertz N        observations a second of each robot                                               [5]
  --seconds N      of each load                                                                      [10]
  --pairs N        [9]
  --profile FILE   writes the profile that was measured last
  --seed N         of the first simulation                                                           [0]`

const OPTIONS = {
  engine: text('bundled'),
  'max-batch': integer(8, 1, 256),
  robots: integer(8, 1, 256),
  hertz: number(5, 0.1, 1000),
  seconds: number(10, 5, 60),
  pairs: integer(9, 1, 1000),
  profile: text(),
  seed: integer(0, 0, 2 ** 31 - 1),
  help: flag(),
}
const ROUNDS = 40
const NETWORK = { p50: 0, p99: 0 }

const { own: options } = readOptions(process.argv.slice(2), OPTIONS, HELP)

const median = (values: readonly number[]) =>
  percentile(
    values.toSorted((a, b) => a - b),
    50,
  )

/** Measures the service times of `engine` anew each time, of observations as the load has them. */
async function measuredEngine(engine: Engine) {
  const { policy, runtime } = await createEngine(engine)
  const { msgpack } = await framesFor(policy.spec, 0)
  const { actionHorizon: horizon, actionDim } = policy.model
  const shape = { horizon, actionDim, actionSize: policy.actionSize }
  const parser = new RequestParser(policy.spec, shape, { maxImages: 8 })
  const { observation } = parser.request(decodeMsgpack(msgpack), 'msgpack')
  const measuring = { steps: policy.defaultSteps, rounds: ROUNDS, onRound: () => {} }
  const { backend, precision, device } = runtime.info
  const named = { policy: policy.name, backend, precision, device, machine: machineLine() }
  return {
    spec: policy.spec,
    measure: async (): Promise<Profile> => ({
      ...named,
      ...(await measureBatches(policy, runtime, measuring, observation)),
    }),
    close: async () => {
      await runtime.close()
      await policy.close()
    },
  }
}

/** What the server does beside preparing and inferring: of one robot, whose observations never meet another. */
async function measuredWire(server: ServerProcess, frames: RobotFrames[], profile: Profile) {
  const load = { seconds: 5, hertz: 20, staleAfterMs: Number.POSITIVE_INFINITY }
  const before = await server.cpuMs()
  const tally = await streamLoad({ url: server.url, apiKey: undefined }, frames.slice(0, 1), load)
  const prepareMs = quantile(profile.prepare, 0.5)
  const threadMs = Math.max(0, ((await server.cpuMs()) - before) / tally.served - prepareMs)
  const ages = Array.from({ length: 99 }, (_, percent) => tally.percentile(percent + 1))
  return { threadMs, latency: timesOf(ages.map(age => Math.max(0, age - prepareMs))) }
}

async function main(): Promise<void> {
  const { hertz, seconds, robots, pairs, seed } = options
  const engine = options.engine === 'bundled' ? 'bundled' : Number(options.engine)
  const settings: Engine = { engine, maxBatch: options['max-batch'], lanes: 1, threads: 1 }
  const measured = await measuredEngine(settings)
  const frames: RobotFrames[] = []
  for (let robot = 0; robot < robots; robot += 1) frames.push(await framesFor(measured.spec, robot))
  const idle = await ServerProcess.start({ ...settings, engine: 0 }, [])
  const server = await ServerProcess.start(settings, [])
  let profile!: Profile
  const rows: number[][] = []
  for (let pair = 0; pair < pairs; pair += 1) {
    process.stderr.write(`pair ${pair + 1} of ${pairs} …\n`)
    const seen = async () => {
      const load = { seconds, hertz, staleAfterMs: Number.POSITIVE_INFINITY }
      const tally = await streamLoad({ url: server.url, apiKey: undefined }, frames, load)
      return [tally.percentile(50), tally.percentile(99)]
    }
    const told = async () => {
      profile = await measured.measure()
      profile.wire = await measuredWire(idle, frames, profile)
      const served = Array.from({ length: robots }, (_, robot) => ({ robot, from: 0 }))
      const asked = { hertz, delay: NETWORK, deadlineMs: undefined, seconds, seed: seed + pair, places: 256 }
      const figures = await simulateReplica(profile, served, { ...asked, phases: 'even' })
      const { ageP50, ageP99 } = summarised([figures], Number.POSITIVE_INFINITY)
      return [ageP50 ?? Number.NaN, ageP99 ?? Number.NaN]
    }
    const swapped = pair % 2 === 1
    const first = swapped ? await told() : await seen()
    const second = swapped ? await seen() : await told()
    const [real, simulated] = swapped ? [second, first] : [first, second]
    rows.push([...real, ...simulated, simulated[0]! / real[0]!, simulated[1]! / real[1]!])
  }
  idle.stop()
  await measured.close()
  if (options.profile) writeFileSync(options.profile, `${JSON.stringify(profile)}\n`)
  server.stop()
  const medians = rows[0]!.map((_, at) => median(rows.map(row => row[at]!)))
  const load = loadavg()[0]!.toFixed(1)
  console.log(
    `${profile.device}, batches of up to ${settings.maxBatch}; ${robots} robots at ${hertz} Hz, ${seconds} s a turn`,
  )
  console.log(`${machineLine()}; load average ${load}\n`)
  console.log(
    alignedTable(
      [
        'pair',
        'p50 ms, load test',
        'p99 ms, load test',
        'p50 ms, simulated',
        'p99 ms, simulated',
        'p50 ratio',
        'p99 ratio',
      ],
      [...rows.map((row, pair) => [String(pair + 1), row]), ['median', medians]].map(([name, row]) => [
        name as string,
        ...(row as number[]).map((value, at) => column(value, at > 3 ? 3 : undefined)),
      ]),
    ),
  )
}

if (options.help) console.log(HELP)
else await main()
