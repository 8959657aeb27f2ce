import { setTimeout as sleep } from 'node:timers/promises'
import { type TimeSample, TurboPiClient } from '../client/index.js'
import { reasonOf, TurboPiError } from '../errors.js'
import { usage } from '../settings/arguments.js'
import { flag, integer, text } from '../settings/kinds.js'
import { type Call, command as define } from './kit/command.js'
import { CALLER_SETTINGS } from './kit/server-call.js'

const OPTIONS = {
  count: integer({ default: 50, min: 1, max: 100_000, meaning: 'exchanges' }),
  interval: integer({ default: 100, min: 0, max: 60_000, unit: 'ms', meaning: 'between them' }),
  timeout: integer({ default: 1000, min: 1, max: 60_000, unit: 'ms', meaning: 'after which one is lost' }),
  deadline: integer({
    default: 200,
    min: 1,
    max: 600_000,
    unit: 'ms',
    meaning: 'from the capture to the moment when the robot needs the answer',
  }),
  robot: text({ takes: 'NAME', meaning: 'name of the robot' }),
  json: flag({ meaning: 'print JSON' }),
}

export const command = define(
  {
    name: 'link',
    forms: ['URL [options]'],
    about: `
Measures the way to a server by exchanges of time stamps: the offset of the clocks, round trip, jitter, what is lost, and how
much of an observation's deadline the network leaves to the server. Nothing is inferred. Exits 1 when it leaves nothing, or
when exchanges are lost. Give the key in TURBO_PI_API_KEY.`,
    positionals: { least: 1, most: 1, what: 'one URL' },
    options: OPTIONS,
    settings: CALLER_SETTINGS,
  },
  measure,
)

async function measure({ own, config, positionals }: Call<typeof OPTIONS>): Promise<number> {
  const url = positionals[0]!
  const client = await connect(url, own.robot, config.apiKey)
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

async function connect(
  url: string,
  robot: string | undefined,
  apiKey: string | undefined,
): Promise<TurboPiClient> {
  if (!/^(?:ws|http)s?:/.test(url) || !URL.canParse(url))
    throw usage('link', `link takes an address such as ws://127.0.0.1:8000, got ${url}.`)
  try {
    return await TurboPiClient.connect(url, { robot, apiKey, waitMs: 10_000 })
  } catch (error) {
    throw new TurboPiError('SERVER_UNREACHABLE', `There is no link to ${url}: ${reasonOf(error)}`, {
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
