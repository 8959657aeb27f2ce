import { ServerProcess, watchHealth } from './child.js'
import { burstLoad, closedLoop, fifoLoad, type OpenLoop, streamLoad } from './drivers.js'
import { httpLoad } from './http.js'
import type { Target } from './load-socket.js'
import type { RobotFrames } from './observations.js'
import { column, type Row } from './table.js'
import { Tally } from './tally.js'

type Measurement = Partial<Row> & { served: number }

/** What all scenarios share. */
export interface Bench {
  target: Target
  /** Our own server, when it is one. */
  own: ServerProcess | undefined
  frames: RobotFrames[]
  load: OpenLoop
  add(row: Row): void
}

const share = (part: number, whole: number) =>
  whole === 0 ? '' : `${Math.round((1000 * part) / whole) / 10} %`

const rowOf = (tally: Tally, seconds: number): Measurement => ({
  served: tally.served,
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

/** Runs a scenario while /healthz is watched. */
async function measure(
  { target, own, add }: Bench,
  scenario: string,
  robots: number,
  run: () => Promise<Measurement>,
): Promise<void> {
  process.stderr.write(`${scenario}, ${robots} …\n`)
  const health = await watchHealth(target)
  const before = await own?.cpuMs()
  const { served, ...row } = await run()
  const cpu = own && { cpu: column(((await own.cpuMs()) - before!) / served) }
  add({
    scenario,
    robots: String(robots),
    ...row,
    ...cpu,
    health: column(await health.stop()),
  })
}

/** POST /infer, by autocannon. */
export async function http(bench: Bench): Promise<void> {
  const { target, frames, load } = bench
  for (const form of ['json', 'msgpack'] as const) {
    for (const connections of [1, 8, 32]) {
      await measure(bench, `http ${form === 'json' ? 'JSON JPEG' : 'msgpack raw'}`, connections, async () => {
        const result = await httpLoad(target, frames.slice(0, connections), form, load.seconds)
        return {
          served: result.answers,
          rate: column(result.requestsPerSecond, 0),
          p50: column(result.p50, 0),
          p99: column(result.p99, 0),
          p999: column(result.p999, 0),
          errors: String(result.errors),
        }
      })
    }
  }
}

/**
 * openpi's protocol, each connection asking as fast as it is answered; and the WebSocket library alone under the same load, in
 * turns, for what a frame of this size costs on this machine at its cheapest.
 */
export async function closed(bench: Bench, nodeArgs: readonly string[]): Promise<void> {
  const { target, own, frames, load } = bench
  for (const connections of [1, 8, 32]) {
    await measure(bench, 'WS / closed loop, raw', connections, async () =>
      rowOf(await closedLoop(target, frames.slice(0, connections), load.seconds), load.seconds),
    )
  }
  if (!own) return
  const bare = await ServerProcess.bare(nodeArgs)
  await compare(bench, [
    { name: 'WS / closed loop, a server that answers unread', server: bare, connections: 8 },
    { name: 'WS / closed loop, this server', server: own, connections: 8 },
  ])
  bare.stop()
}

/** Robots at a constant rate: latest-wins, and beside it the same load answered in order. */
export async function robots(bench: Bench, counts: readonly number[]): Promise<void> {
  const { target, frames, load } = bench
  for (const count of counts) {
    let age = 0
    await measure(bench, `/stream at ${load.hertz} Hz, latest wins`, count, async () => {
      const tally = await streamLoad(target, frames.slice(0, count), load)
      age = tally.percentile(99)
      return openRowOf(tally, load)
    })
    await measure(bench, `WS / at ${load.hertz} Hz, in order`, count, async () => {
      const tally = await fifoLoad(target, frames.slice(0, count), load)
      return {
        ...openRowOf(tally, load),
        compared: `p99 ${column(tally.percentile(99) / age)} × latest wins`,
      }
    })
  }
}

/** Robots at a constant rate, latest-wins, each of whose answers is of use until its deadline. */
export async function stream(bench: Bench, counts: readonly number[]): Promise<void> {
  const { target, frames, load } = bench
  const deadline = load.deadlineMs === undefined ? '' : `, deadline ${load.deadlineMs} ms`
  for (const count of counts) {
    await measure(bench, `/stream at ${load.hertz} Hz${deadline}`, count, async () => {
      const before = performance.eventLoopUtilization()
      const tally = await streamLoad(target, frames.slice(0, count), load)
      const { utilization } = performance.eventLoopUtilization(before)
      return {
        ...openRowOf(tally, load),
        expired: share(tally.expired, tally.sent),
        ...(load.deadlineMs !== undefined && {
          late: share(tally.late, tally.answers),
          lateAsFresh: String(tally.lateAsFresh),
        }),
        leastShare: column(tally.leastShare(count), 2),
        loadBusy: share(utilization, 1),
      }
    })
  }
}

/** Many callers with the same observation. */
export async function burst(bench: Bench): Promise<void> {
  await measure(bench, 'the same observation at once', 32, async () => {
    const start = performance.now()
    const tally = await burstLoad(bench.target, bench.frames[0]!, 32, 50)
    return rowOf(tally, (performance.now() - start) / 1000)
  })
}

const ROUNDS = 3

/** Two ways to serve, measured in turns; the second is compared with the first. */
async function compare(
  { add, frames, load }: Bench,
  ways: readonly { name: string; server: ServerProcess; connections: number }[],
): Promise<void> {
  const tallies = ways.map(() => new Tally())
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [at, { name, server, connections }] of ways.entries()) {
      process.stderr.write(`${name}, ${connections} …\n`)
      const target = { url: server.url, apiKey: undefined }
      await closedLoop(target, frames.slice(0, connections), load.seconds, tallies[at])
    }
  }
  for (const [at, { name, connections }] of ways.entries()) {
    const tally = tallies[at]!
    const { served: _, ...row } = rowOf(tally, ROUNDS * load.seconds)
    const ratio = tally.answers / tallies[0]!.answers
    add({
      scenario: name,
      robots: String(connections),
      ...row,
      ...(at > 0 && { compared: `rate ${column(ratio)} × the line above` }),
    })
  }
}

/** Real inference on the CPU: what batching and what overlapping the lanes buy. */
export async function engines(bench: Bench, maxBatch: number, nodeArgs: readonly string[]): Promise<void> {
  for (const engine of ['bundled', 'larger'] as const) {
    const [off, on] = await Promise.all(
      ([1, 2] as const).map(lanes => ServerProcess.start({ engine, maxBatch, lanes, threads: 2 }, nodeArgs)),
    )
    if (!off || !on) throw new Error('both servers are needed')
    await compare(bench, [
      { name: `CPU, ${engine}, one at a time`, server: off, connections: 1 },
      { name: `CPU, ${engine}, batches of up to ${maxBatch}`, server: off, connections: 16 },
    ])
    await compare(bench, [
      { name: `CPU, ${engine}, pipeline off: one worker, two threads`, server: off, connections: 8 },
      { name: `CPU, ${engine}, pipeline on: two workers, one thread each`, server: on, connections: 8 },
    ])
    off.stop()
    on.stop()
  }
}
