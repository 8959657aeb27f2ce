import { alignedTable } from '../src/commands/kit/table.js'

/** One scenario's line; all figures are texts, and missing ones stay empty. */
export interface Row {
  scenario: string
  robots: string
  rate?: string
  p50?: string
  p99?: string
  p999?: string
  stale?: string
  superseded?: string
  expired?: string
  late?: string
  lateAsFresh?: string
  leastShare?: string
  coalesced?: string
  unfair?: string
  compared?: string
  errors?: string
  /** Processor time of our own server. */
  cpu?: string
  health?: string
  /** Share of the time that the load's own thread was busy. */
  loadBusy?: string
}

const HEADINGS: Record<keyof Row, string> = {
  scenario: 'scenario',
  robots: 'connections',
  rate: 'answers/s',
  p50: 'p50 ms',
  p99: 'p99 ms',
  p999: 'p99.9 ms',
  stale: 'stale',
  superseded: 'superseded',
  expired: 'expired',
  late: 'late',
  lateAsFresh: 'late as fresh',
  leastShare: 'least share',
  coalesced: 'coalesced',
  unfair: 'share ±',
  compared: 'compared',
  errors: 'errors',
  cpu: 'CPU ms/answer',
  health: '/healthz p99 ms',
  loadBusy: 'load busy',
}

/** A number with as many decimals as it deserves. */
export const column = (value: number, decimals = value < 10 ? 2 : 1) => value.toFixed(decimals)

/** The columns that any row fills. */
export function table(rows: readonly Row[]): string {
  const keys = (Object.keys(HEADINGS) as (keyof Row)[]).filter(key => rows.some(row => row[key]))
  return alignedTable(
    keys.map(key => HEADINGS[key]),
    rows.map(row => keys.map(key => row[key] ?? '')),
  )
}
