import { alignedTable } from '../kit/table.js'
import type { Scrape } from './samples.js'

/** What a server says of itself beside its numbers. */
export interface About {
  url: string
  /** Why it cannot answer; undefined when it can. */
  unready: string | undefined
  /** Of several cards, how many work: "1 of 2 cards". */
  cards?: string | undefined
  policy: string
  backend: string | undefined
  model: string | undefined
}

const number = (value: number, decimals = value < 10 ? 1 : 0) => value.toFixed(decimals)
const milliseconds = (seconds: number | undefined) =>
  seconds === undefined ? '–' : number(1000 * seconds, 1)
const megabytes = (bytes: number) => `${number(bytes / 1e6, 0)} MB`

/** What happened between two moments, as lines; `rows`: robots that there is room for. */
export function view(
  about: About,
  now: Scrape,
  before: Scrape | undefined,
  rows = Number.POSITIVE_INFINITY,
): string {
  const seconds = before ? (now.at - before.at) / 1000 : Number.NaN
  const since = (name: string, where = {}) => now.sum(name, where) - (before?.sum(name, where) ?? 0)
  const rate = (name: string, where = {}) => (before ? number(since(name, where) / seconds) : '–')
  const ages = (share: number) =>
    milliseconds(now.quantile('turbo_pi_observation_age_seconds', share, before))
  const totals = (share: number) =>
    milliseconds(now.quantile('turbo_pi_stage_seconds', share, before, { stage: 'total' }))
  const batches = since('turbo_pi_batch_rows_count')
  const lanes = now.values('turbo_pi_lane_busy_seconds_total', 'lane')
  const busy = lanes.map(lane => {
    const devices = now.values('turbo_pi_lane_busy_seconds_total', 'device').length
    const share = since('turbo_pi_lane_busy_seconds_total', { lane }) / seconds / Math.max(1, devices)
    return `${lane} ${before ? number(100 * share, 0) : '–'} %`
  })
  const { url, unready, cards, policy, backend, model } = about
  const what = [policy, backend, cards, model && `model ${model.slice(0, 12)}`].filter(Boolean).join(', ')
  return [
    `${url}  ${unready === undefined ? 'ready' : `NOT READY: ${unready}`}  ${what}`,
    '',
    `a second   answers ${rate('turbo_pi_answers_total')}  coalesced ${rate('turbo_pi_coalesced_total')}  late ${rate('turbo_pi_late_total')}  superseded ${rate('turbo_pi_superseded_total')}  guard findings ${rate('turbo_pi_guard_findings_total')}  errors ${rate('turbo_pi_errors_total')}`,
    `ms         observation age p50 ${ages(0.5)}  p99 ${ages(0.99)}  in the server p50 ${totals(0.5)}  p99 ${totals(0.99)}`,
    `now        queue ${now.sum('turbo_pi_queue_depth')}  rows of a batch ${batches > 0 ? number(since('turbo_pi_batch_rows_sum') / batches) : '–'}  connections ${now.sum('turbo_pi_connections')}  held robots ${now.sum('turbo_pi_robot_held')}  ${busy.join('  ')}`,
    `memory     model ${megabytes(now.sum('turbo_pi_model_bytes'))}  process ${megabytes(now.sum('process_resident_memory_bytes'))}`,
    ...cardLines(now),
    '',
    robots(now, before, seconds, rows),
  ].join('\n')
}

/** A line for each card that tells what it is at. */
function cardLines(now: Scrape): string[] {
  return now.values('turbo_pi_gpu_info', 'device').map(device => {
    const told = (name: string) => now.only(`turbo_pi_gpu_${name}`, { device })
    const shown = (name: string, as: (value: number) => string) => {
      const value = told(name)
      return value === undefined ? [] : [as(value)]
    }
    const [memory] = shown('memory_bytes', total => ` of ${megabytes(total)}`)
    const slowed = now
      .values('turbo_pi_gpu_throttled', 'reason')
      .filter(reason => now.sum('turbo_pi_gpu_throttled', { device, reason }) > 0)
    return [
      `gpu ${device}`.padEnd(10),
      ...shown('utilisation_ratio', share => `${number(100 * share, 0)} %`),
      ...shown('memory_used_bytes', used => `memory ${megabytes(used)}${memory ?? ''}`),
      ...shown('temperature_celsius', celsius => `${number(celsius, 0)} °C`),
      ...shown('power_watts', watts => `${number(watts, 0)} W`),
      ...(slowed.length > 0 ? [`slowed by ${slowed.join(', ')}`] : []),
      ...((told('other_processes') ?? 0) > 0 ? [`other processes ${told('other_processes')}`] : []),
    ].join('  ')
  })
}

/** A line for each robot; those that answers go to fastest first. */
function robots(now: Scrape, before: Scrape | undefined, seconds: number, rows: number): string {
  const of = (robot: string, metric: string) => now.sum(`turbo_pi_robot_${metric}`, { robot })
  const rate = (robot: string) =>
    before
      ? (of(robot, 'answers_total') - before.sum('turbo_pi_robot_answers_total', { robot })) / seconds
      : 0
  const names = [
    ...new Set(
      ['answers_total', 'errors_total', 'connections'].flatMap(metric =>
        now.values(`turbo_pi_robot_${metric}`, 'robot'),
      ),
    ),
  ]
  if (names.length === 0) return 'No robot has named itself (?robot=NAME, or the header X-Robot).'
  const shown = names.toSorted((a, b) => rate(b) - rate(a) || a.localeCompare(b)).slice(0, rows)
  const table = alignedTable(
    ['robot', 'connections', 'answers/s', 'age ms', 'late', 'skipped', 'findings', 'errors'],
    shown.map(robot => [
      robot,
      String(of(robot, 'connections')),
      before ? number(rate(robot)) : '–',
      of(robot, 'answers_total') > 0 ? milliseconds(of(robot, 'observation_age_seconds')) : '–',
      ...['late_total', 'skipped_total', 'guard_findings_total', 'errors_total'].map(metric =>
        String(of(robot, metric)),
      ),
    ]),
  )
  const left = names.length - shown.length
  return left > 0 ? `${table}\n… and ${left} more` : table
}
