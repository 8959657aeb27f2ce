import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { ObservationSpec } from '../src/contract/observation.js'
import {
  burstLoad,
  closedLoop,
  fifoLoad,
  type OpenLoop,
  streamLoad,
  type Target,
  watchHealth,
} from './drivers.js'
import { httpLoad } from './http.js'
import { framesFor, type RobotFrames } from './observations.js'
import { column, type Row, table } from './table.js'
import type { Tally } from './tally.js'

const HELP = `npm run loadtest -- [options]: measures a server under load and prints one table

  --engine-ms N     the server answers after N ms of pretended inference; 0 measures the server alone  [0]
  --max-batch N     rows that share one pretended inference                                            [8]
  --lanes N         2 lets perceive and act of the pretended engine overlap                            [1]
  --seconds N       length of each scenario, 1 to 60                                                   [5]
  --scenarios A,B   of http, closed, robots, fifo, burst                                             [all]
  --robots A,B      robots of the constant-rate scenarios, 1 to 256                             [1,8,64]
  --hertz N         observations a second of each robot                                               [10]
  --url URL         a server that runs already, instead of one of our own
  --api-key KEY     its key
  --remote          allows a URL that is not on this machine
  --node-arg ARG    option of node for our own server, for example --single-threaded-gc; may be repeated

Times of http are autocannon's, in whole milliseconds. Times of robots and fifo are ages: from the capture of an
observation to the arrival of its actions; an answer is stale after one camera period and two inferences.`

const { values } = parseArgs({
  options: {
    'engine-ms': { type: 'string', default: '0' },
    'max-batch': { type: 'string', default: '8' },
    lanes: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '5' },
    scenarios: { type: 'string', default: 'http,closed,robots,fifo,burst' },
    robots: { type: 'string', default: '1,8,64' },
    hertz: { type: 'string', default: '10' },
    url: { type: 'string' },
    'api-key': { type: 'string' },
    remote: { type: 'boolean', default: false },
    'node-arg': { type: 'string', multiple: true, default: [] },
    help: { type: 'boolean', default: false },
  },
})

function bounded(
  name: 'engine-ms' | 'max-batch' | 'lanes' | 'seconds' | 'hertz',
  min: number,
  max: number,
): number {
  const number = Number(values[name])
  if (!(number >= min && number <= max))
    throw new Error(`--${name} takes ${min} to ${max}, got ${values[name]}`)
  return number
}

async function startServer(args: number[]): Promise<{ child: ChildProcess; url: string }> {
  const child = fork(fileURLToPath(new URL('server.ts', import.meta.url)), args.map(String), {
    execArgv: ['--import=tsx', ...values['node-arg']],
  })
  const url = await new Promise<string>((resolve, reject) => {
    child.once('message', message => resolve(String(message)))
    child.once('exit', code => reject(new Error(`the server ended with ${code}`)))
  })
  return { child, url }
}

/** Processor time that our own server has used so far. */
async function cpuMs(child: ChildProcess): Promise<number> {
  child.send('cpu')
  const [milliseconds] = await once(child, 'message')
  return Number(milliseconds)
}

/** Runs a scenario while /healthz is watched. */
async function measured(
  target: Target,
  child: ChildProcess | undefined,
  run: () => Promise<Measurement>,
): Promise<Partial<Row>> {
  const health = watchHealth(target)
  const before = child && (await cpuMs(child))
  const { answers, ...row } = await run()
  const cpu = child && { cpu: column(((await cpuMs(child)) - before!) / answers) }
  return { ...row, ...cpu, health: column((await health.stop()).percentile(99)) }
}

type Measurement = Partial<Row> & { answers: number }

const rowOf = (tally: Tally, seconds: number): Measurement => ({
  answers: tally.answers,
  rate: column(tally.answers / seconds, 0),
  p50: column(tally.percentile(50)),
  p99: column(tally.percentile(99)),
  p999: column(tally.percentile(99.9)),
  coalesced: share(tally.coalesced, tally.answers),
  errors: String(tally.errors),
})

const openRowOf = (tally: Tally, { seconds }: OpenLoop): Measurement => ({
  ...rowOf(tally, seconds),
  stale: share(tally.stale, tally.answers),
  superseded: share(tally.superseded, tally.sent),
  unfair: `${Math.round(tally.unfairness * 100)} %`,
})

const share = (part: number, whole: number) =>
  whole === 0 ? '' : `${Math.round((1000 * part) / whole) / 10} %`

async function main(): Promise<void> {
  if (values.help) return console.log(HELP)
  const [engineMs, maxBatch, lanes] = [
    bounded('engine-ms', 0, 10_000),
    bounded('max-batch', 1, 256),
    bounded('lanes', 1, 2),
  ]
  const [seconds, hertz] = [bounded('seconds', 1, 60), bounded('hertz', 0.1, 1000)]
  const counts = values.robots.split(',').map(Number)
  if (!counts.every(count => Number.isInteger(count) && count >= 1 && count <= 256)) {
    throw new Error(`--robots takes numbers from 1 to 256, got ${values.robots}`)
  }
  const chosen = values.scenarios.split(',')
  if (values.url && !values.remote && !/^https?:\/\/(127\.0\.0\.1|localhost|\[::1\])[:/]?/.test(values.url)) {
    throw new Error(`${values.url} is not on this machine; pass --remote to load it all the same`)
  }

  const own = values.url ? undefined : await startServer([engineMs, maxBatch, lanes])
  const target: Target = { url: (values.url ?? own!.url).replace(/\/$/, ''), apiKey: values['api-key'] }
  try {
    const headers = target.apiKey === undefined ? {} : { authorization: `Api-Key ${target.apiKey}` }
    const metadata = await (await fetch(`${target.url}/metadata`, { headers })).json()
    const { observation: spec } = metadata as { observation: ObservationSpec }
    const frames: RobotFrames[] = []
    for (let robot = 0; robot < Math.max(32, ...counts); robot += 1) frames.push(await framesFor(spec, robot))
    const load = { seconds, hertz, staleAfterMs: 1000 / hertz + 2 * engineMs }
    const rows: Row[] = []
    const add = async (scenario: string, robots: number, run: () => Promise<Measurement>) => {
      process.stderr.write(`${scenario}, ${robots} …\n`)
      rows.push({ scenario, robots: String(robots), ...(await measured(target, own?.child, run)) })
    }

    for (const form of chosen.includes('http') ? (['json', 'msgpack'] as const) : []) {
      for (const connections of [1, 8, 32]) {
        await add(`http ${form === 'json' ? 'JSON JPEG' : 'msgpack raw'}`, connections, async () => {
          const result = await httpLoad(target, frames.slice(0, connections), form, seconds)
          return {
            answers: result.answers,
            rate: column(result.requestsPerSecond, 0),
            p50: column(result.p50, 0),
            p99: column(result.p99, 0),
            p999: column(result.p999, 0),
            errors: String(result.errors),
          }
        })
      }
    }
    for (const connections of chosen.includes('closed') ? [1, 8, 32] : []) {
      await add('WS / closed loop, raw', connections, async () =>
        rowOf(await closedLoop(target, frames.slice(0, connections), seconds), seconds),
      )
    }
    const ages = new Map<number, number>()
    for (const count of chosen.includes('robots') ? counts : []) {
      await add(`/stream at ${hertz} Hz, latest wins`, count, async () => {
        const tally = await streamLoad(target, frames.slice(0, count), load)
        ages.set(count, tally.percentile(99))
        return openRowOf(tally, load)
      })
    }
    for (const count of chosen.includes('fifo') ? counts : []) {
      await add(`WS / at ${hertz} Hz, in order`, count, async () => {
        const tally = await fifoLoad(target, frames.slice(0, count), load)
        const age = ages.get(count)
        return {
          ...openRowOf(tally, load),
          ...(age !== undefined && { ratio: `${column(tally.percentile(99) / age)}×` }),
        }
      })
    }
    if (chosen.includes('burst')) {
      await add('the same observation at once', 32, async () => {
        const started = performance.now()
        const tally = await burstLoad(target, frames[0]!, 32, 50)
        return rowOf(tally, (performance.now() - started) / 1000)
      })
    }
    const cpu = cpus()
    const engine = values.url ? values.url : `engine ${engineMs} ms, batches of ${maxBatch}, ${lanes} lane(s)`
    console.log(
      `${engine}; ${seconds} s a scenario; ${cpu.length} × ${cpu[0]?.model.trim()}, Node ${process.version}`,
    )
    console.log(table(rows))
  } finally {
    own?.child.disconnect()
  }
}

await main()
