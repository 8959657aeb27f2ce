import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import type { ObservationSpec } from '../src/contract/observation.js'
import { ServerProcess } from './child.js'
import { framesFor, type RobotFrames } from './observations.js'
import * as scenarios from './scenarios.js'
import { type Row, table } from './table.js'

const HELP = `npm run loadtest -- [options]: measures a server under load and prints one table

  --engine-ms N     the server answers after N ms of pretended inference; 0 measures the server alone  [0]
  --max-batch N     rows that share one inference                                                      [8]
  --lanes N         2 lets perceive and act of the pretended engine overlap                            [1]
  --seconds N       length of each scenario, 1 to 60                                                   [5]
  --scenarios A,B   of http, closed, robots, burst, engines                   [http,closed,robots,burst]
  --robots A,B      robots of the constant-rate scenarios, 1 to 256                             [1,8,64]
  --hertz N         observations a second of each robot                                               [10]
  --url URL         a server that runs already, instead of one of our own
  --api-key KEY     its key
  --remote          allows a URL that is not on this machine
  --node-arg ARG    option of node for our own server, for example --single-threaded-gc; may be repeated

Times of http are autocannon's, in whole milliseconds. Times of robots are ages: from the capture of an observation to
the arrival of its actions; an answer is stale after one camera period and two inferences. The scenario engines computes
the bundled policy, and a larger random model, on the CPU.`

const { values } = parseArgs({
  options: {
    'engine-ms': { type: 'string', default: '0' },
    'max-batch': { type: 'string', default: '8' },
    lanes: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '5' },
    scenarios: { type: 'string', default: 'http,closed,robots,burst' },
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
  option: 'engine-ms' | 'max-batch' | 'lanes' | 'seconds' | 'hertz',
  min: number,
  max: number,
) {
  const number = Number(values[option])
  if (!(number >= min && number <= max)) {
    throw new Error(`--${option} takes ${min} to ${max}, got ${values[option]}`)
  }
  return number
}

function checkedUrl(url: string | undefined): string | undefined {
  if (url && !values.remote && !['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname)) {
    throw new Error(`${url} is not on this machine; pass --remote to load it all the same`)
  }
  return url?.replace(/\/$/, '')
}

async function main(): Promise<void> {
  const engineMs = bounded('engine-ms', 0, 10_000)
  const maxBatch = bounded('max-batch', 1, 256)
  const lanes = bounded('lanes', 1, 2) === 2 ? 2 : 1
  const load = { seconds: bounded('seconds', 1, 60), hertz: bounded('hertz', 0.1, 1000) }
  const counts = values.robots.split(',').map(Number)
  if (!counts.every(count => Number.isInteger(count) && count >= 1 && count <= 256)) {
    throw new Error(`--robots takes numbers from 1 to 256, got ${values.robots}`)
  }
  const chosen = values.scenarios.split(',')
  const url = checkedUrl(values.url)
  const nodeArgs = values['node-arg']

  const own = url
    ? undefined
    : await ServerProcess.start({ engine: engineMs, maxBatch, lanes, threads: 1 }, nodeArgs)
  const target = { url: url ?? own!.url, apiKey: values['api-key'] }
  const headers = target.apiKey === undefined ? {} : { authorization: `Api-Key ${target.apiKey}` }
  const metadata = await (await fetch(`${target.url}/metadata`, { headers })).json()
  const { observation: spec } = metadata as { observation: ObservationSpec }
  const frames: RobotFrames[] = []
  for (let robot = 0; robot < Math.max(32, ...counts); robot += 1) frames.push(await framesFor(spec, robot))

  const rows: Row[] = []
  const bench: scenarios.Bench = {
    target,
    own,
    frames,
    load: { ...load, staleAfterMs: 1000 / load.hertz + 2 * engineMs },
    add: row => rows.push(row),
  }
  if (chosen.includes('http')) await scenarios.http(bench)
  if (chosen.includes('closed')) await scenarios.closed(bench, nodeArgs)
  if (chosen.includes('robots')) await scenarios.robots(bench, counts)
  if (chosen.includes('burst')) await scenarios.burst(bench)
  own?.stop()
  if (chosen.includes('engines')) await scenarios.engines(bench, maxBatch, nodeArgs)

  const cpu = cpus()
  const engine = url ?? `engine ${engineMs} ms, batches of up to ${maxBatch}, ${lanes} lane(s)`
  console.log(
    `${engine}; ${load.seconds} s each; ${cpu.length} × ${cpu[0]?.model.trim()}, Node ${process.version}`,
  )
  console.log(table(rows))
}

if (values.help) console.log(HELP)
else await main()
