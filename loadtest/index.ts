import { machineLine } from '../src/commands/kit/machine.js'
import { flag, integer, integers, number, readOptions, text, texts } from '../src/commands/kit/options.js'
import type { ObservationSpec } from '../src/contract/observation.js'
import { ServerProcess } from './child.js'
import { framesFor, type RobotFrames } from './observations.js'
import { recorded } from './recorded.js'
import * as scenarios from './scenarios.js'
import { type Row, table } from './table.js'

const HELP = `npm run loadtest -- [options]: measures a server under load and prints one table

  --engine-ms N     the server answers after N ms of pretended inference; 0 measures the server alone  [0]
  --max-batch N     rows that share one inference                                                      [8]
  --lanes N         2 lets perceive and act of the pretended engine overlap                            [1]
  --seconds N       length of each scenario, 1 to 60                                                   [5]
  --scenarios A,B   of http, closed, robots, stream, burst, engines, recorded [http,closed,robots,burst]
  --robots A,B      robots of the constant-rate scenarios, 1 to 512                             [1,8,64]
  --hertz N         observations a second of each robot                                               [10]
  --deadline-ms N   of every observation in the scenario stream; 0: none                                   [0]
  --url URL         a server that runs already, instead of one of our own
  --serve=ARGS      turbo-pi serve with these arguments as the server of our own, for example
                    "--runtime cuda --random-weights pi05 --max-batch 32 --pipeline on"
  --api-key KEY     its key
  --remote          allows a URL that is not on this machine
  --node-arg ARG    option of node for our own server, for example --single-threaded-gc; may be repeated

Times of http are autocannon's, in whole milliseconds. Times of robots are ages: from the capture of an observation to
the arrival of its actions, after a second of warming up and until the last is sent; an answer is stale after one camera
period and two inferences. The scenario engines computes the bundled policy, and a larger random model, on the CPU. The
scenario stream is robots without what is answered in order, and tells how many answers came after their deadline, were
not marked so, and what the robot with fewest got of an even share. The scenario recorded compares a server that records
with one that does not, in 9 pairs of turns with --robots (the last number).`

const OPTIONS = {
  'engine-ms': number(0, 0, 10_000),
  'max-batch': integer(8, 1, 256),
  lanes: integer(1, 1, 2),
  seconds: number(5, 1, 60),
  scenarios: text('http,closed,robots,burst'),
  robots: integers([1, 8, 64], 1, 512),
  hertz: number(10, 0.1, 1000),
  'deadline-ms': number(0, 0, 60_000),
  url: text(),
  serve: text(),
  'api-key': text(),
  remote: flag(),
  'node-arg': texts(),
  help: flag(),
}

const { own: options } = readOptions(process.argv.slice(2), OPTIONS, HELP)

function checkedUrl(url: string | undefined): string | undefined {
  if (url && !options.remote && !['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname)) {
    throw new Error(`${url} is not on this machine; pass --remote to load it all the same`)
  }
  return url?.replace(/\/$/, '')
}

async function main(): Promise<void> {
  const { 'engine-ms': engineMs, 'max-batch': maxBatch, seconds, hertz, robots: counts } = options
  const lanes = options.lanes === 2 ? 2 : 1
  const chosen = options.scenarios.split(',')
  const url = checkedUrl(options.url)
  const nodeArgs = options['node-arg']

  const own = url
    ? undefined
    : options.serve
      ? await ServerProcess.serving(options.serve.split(' '), nodeArgs)
      : await ServerProcess.start({ engine: engineMs, maxBatch, lanes, threads: 1 }, nodeArgs)
  const target = { url: url ?? own!.url, apiKey: options['api-key'] }
  const headers = target.apiKey === undefined ? {} : { authorization: `Api-Key ${target.apiKey}` }
  const metadata = await (await fetch(`${target.url}/metadata`, { headers })).json()
  const { observation: spec } = metadata as { observation: ObservationSpec }
  const frames: RobotFrames[] = []
  const enough = chosen.every(name => name === 'stream') ? 1 : 32
  for (let robot = 0; robot < Math.max(enough, ...counts); robot += 1)
    frames.push(await framesFor(spec, robot))

  const rows: Row[] = []
  const bench: scenarios.Bench = {
    target,
    own,
    frames,
    load: {
      ...{ seconds, hertz, staleAfterMs: 1000 / hertz + 2 * engineMs },
      ...(options['deadline-ms'] > 0 && { deadlineMs: options['deadline-ms'] }),
    },
    add: row => rows.push(row),
  }
  if (chosen.includes('http')) await scenarios.http(bench)
  if (chosen.includes('closed')) await scenarios.closed(bench, nodeArgs)
  if (chosen.includes('robots')) await scenarios.robots(bench, counts)
  if (chosen.includes('stream')) await scenarios.stream(bench, counts)
  if (chosen.includes('burst')) await scenarios.burst(bench)
  own?.stop()
  if (chosen.includes('recorded')) {
    const engine = { engine: engineMs, maxBatch, lanes, threads: 1 } as const
    await recorded(bench, engine, counts.at(-1)!, nodeArgs)
  }
  if (chosen.includes('engines')) await scenarios.engines(bench, maxBatch, nodeArgs)

  const engine =
    url ??
    (options.serve && `serve ${options.serve}`) ??
    `engine ${engineMs} ms, batches of up to ${maxBatch}, ${lanes} lane(s)`
  console.log(`${engine}; ${seconds} s each; ${machineLine()}`)
  console.log(table(rows))
}

if (options.help) console.log(HELP)
else await main()
