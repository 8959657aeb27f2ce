import { setTimeout as sleep } from 'node:timers/promises'
import { type TimeSample, TurboPiClient } from '../client/index.js'
import { loadConfig } from '../config.js'
import { reasonOf, TurboPiError } from '../errors.js'
import { flag, integer, readOptions, text } from './kit/options.js'

export const help = `turbo-pi link URL [options]

Measures the way to a server by exchanges of time stamps: the offset of the clocks, round trip, jitter, what is lost, and how
much of an observation's deadline the network leaves to the server. Nothing is inferred. Exits 1 when it leaves nothing, or
when exchanges are lost. The key is taken from TURBO_PI_API_KEY.

  --count N          exchanges [50]
  --interval N       milliseconds between them [100]
  --timeout N        milliseconds after which one is lost [1000]
  --deadline N       milliseconds from the capture to the moment when the robot needs the answer [200]
  --robot NAME       name of the robot
  --json             print JSON`

const OPTIONS = {
  count: integer(50, 1, 100_000),
  interval: integer(100, 0, 60_000),
  timeout: integer(1000, 1, 60_000),
  deadline: integer(200, 1, 600_000),
  robot: text(),
  json: flag(),
}

/** `turbo-pi link URL`. */
export async function run(argv: string[]): Promise<number> {
  const { own, positionals } = readOptions(argv, OPTIONS, help, { allowPositionals: true })
  const [url] = positionals
  if (url === undefined || positionals.length > 1)
    throw new TurboPiError('CONFIG_INVALID', `link takes one URL, got ${positionals.length}.\n\n${help}`)
  const client = await connect(url, own.robot)
  try {
    const samples: TimeSample[] = []
    for (let exchange = 0; exchange < own.count; exchange += 1) {
      if (exchange > 0) await sleep(own.interval)
      const sample = await client.measureLink(own.timeout).catch(() => undefined)
      if (sample) samples.push(sample)
    }
    const report = linkReport(samples, own.count, own.deadline)
    const { policy, model } = client.metadata
    console.log(
      own.json ? JSON.stringify({ url, policy, model, ...report }, null, 2) : described(report, own.deadline),
    )
    return report.lost === 0 && (report.budgetMs ?? 0) > 0 ? 0 : 1
  } finally {
    await client.close()
  }
}

async function connect(url: string, robot: string | undefined): Promise<TurboPiClient> {
  try {
    return await TurboPiClient.connect(url, { robot, apiKey: loadConfig([]).apiKey, waitMs: 10_000 })
  } catch (error) {
    throw new TurboPiError('CONFIG_INVALID', `There is no link to ${url}: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}

/** What exchanges tell of a link, in milliseconds; null when none was answered. */
export interface LinkReport {
  exchanges: number
  lost: number
  /** Of the server's clock against this machine's Unix time, sure to ± `offsetErrorMs`. */
  offsetMs: number | null
  offsetErrorMs: number | null
  roundTripMs: { least: number; median: number; p95: number; most: number } | null
  /** Mean difference between one round trip and the next. */
  jitterMs: number | null
  /** What is left of the deadline when the way there and back takes as long as 95 % of them did at most. */
  budgetMs: number | null
}

export function linkReport(
  samples: readonly TimeSample[],
  exchanges: number,
  deadlineMs: number,
): LinkReport {
  const lost = exchanges - samples.length
  const sorted = samples.toSorted((a, b) => a.roundTripMs - b.roundTripMs)
  const [best] = sorted
  if (!best)
    return {
      exchanges,
      lost,
      offsetMs: null,
      offsetErrorMs: null,
      roundTripMs: null,
      jitterMs: null,
      budgetMs: null,
    }
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!.roundTripMs
  const changes = samples
    .slice(1)
    .map(({ roundTripMs }, at) => Math.abs(roundTripMs - samples[at]!.roundTripMs))
  return {
    exchanges,
    lost,
    // The client's clock counts from the start of the process.
    offsetMs: best.offsetMs - performance.timeOrigin,
    offsetErrorMs: best.roundTripMs / 2,
    roundTripMs: { least: at(0), median: at(0.5), p95: at(0.95), most: at(1) },
    jitterMs: changes.length === 0 ? 0 : changes.reduce((sum, change) => sum + change, 0) / changes.length,
    budgetMs: deadlineMs - at(0.95),
  }
}

function described(report: LinkReport, deadlineMs: number): string {
  const { exchanges, lost, offsetMs, offsetErrorMs, roundTripMs, jitterMs, budgetMs } = report
  if (!roundTripMs) return `none of ${exchanges} exchanges was answered`
  const ms = (value: number | null) => `${(value ?? 0).toFixed(2)} ms`
  const { least, median, p95, most } = roundTripMs
  return [
    `clock offset   ${ms(offsetMs)} ± ${ms(offsetErrorMs)} (server − this machine)`,
    `round trip     ${ms(median)} (least ${ms(least)}, p95 ${ms(p95)}, most ${ms(most)})`,
    `jitter         ${ms(jitterMs)}`,
    `lost           ${lost} of ${exchanges}`,
    `age budget     ${ms(budgetMs)} of a deadline of ${deadlineMs} ms are left to the server`,
  ].join('\n')
}
