import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ServerProcess } from './child.js'
import { streamLoad } from './drivers.js'
import type { Engine } from './engines.js'
import type { Bench } from './scenarios.js'
import { column } from './table.js'

const PAIRS = 9

interface Turn {
  answers: number
  /** Processor time of the server, all threads, in milliseconds an answer. */
  cpuMs: number
  p99: number
}

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

/** What recording costs: robots at a constant rate, with and without it in turns, whose order changes with every pair. */
export async function recorded(
  { frames, load, add }: Bench,
  engine: Engine,
  robots: number,
  nodeArgs: readonly string[],
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'turbo-pi-recorded-'))
  const plain = await ServerProcess.start(engine, nodeArgs)
  const recording = await ServerProcess.start(engine, nodeArgs, directory)
  const turn = async (server: ServerProcess): Promise<Turn> => {
    const before = await server.cpuMs()
    const tally = await streamLoad({ url: server.url, apiKey: undefined }, frames.slice(0, robots), load)
    const cpuMs = ((await server.cpuMs()) - before) / tally.served
    return { answers: tally.answers, cpuMs, p99: tally.percentile(99) }
  }
  const turns = { plain: [] as Turn[], recording: [] as Turn[] }
  for (let pair = 0; pair < PAIRS; pair += 1) {
    process.stderr.write(`recorded, pair ${pair + 1} of ${PAIRS} …\n`)
    const order = [['plain', plain] as const, ['recording', recording] as const]
    if (pair % 2 === 1) order.reverse()
    for (const [name, server] of order) turns[name].push(await turn(server))
  }
  plain.stop()
  recording.stop()
  const ratio = median(turns.recording.map(({ answers }, at) => answers / turns.plain[at]!.answers))
  for (const [name, of] of Object.entries(turns))
    add({
      scenario: `/stream at ${load.hertz} Hz, ${name === 'plain' ? 'not recorded' : 'recorded'}`,
      robots: String(robots),
      rate: column(median(of.map(({ answers }) => answers)) / load.seconds, 1),
      p99: column(median(of.map(({ p99 }) => p99))),
      cpu: column(median(of.map(({ cpuMs }) => cpuMs))),
      ...(name === 'recording' && { compared: `rate ${column(ratio, 3)} × not recorded, median of pairs` }),
    })
  // The writer may still be at it.
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
}
