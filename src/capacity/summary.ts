import type { Observed, ReplicaFigures } from './replica.js'
import { percentile } from './times.js'

/** What robots see of a fleet, or of a part of its time. */
export interface Summary {
  observations: number
  /** Shares of the observations. */
  answered: number
  superseded: number
  expired: number
  /** Refused by a full queue, or not answered when the simulation ended. */
  refused: number
  /** Of the answers: older than asked for. */
  late: number
  /** Milliseconds from capture to arrival; null without answers. */
  ageP50: number | null
  ageP99: number | null
  /** Mean rows of an engine call. */
  batchRows: number
  /** Mean share of the time that engines are at work. */
  busy: number
}

export function summarised(
  replicas: readonly ReplicaFigures[],
  lateAfterMs: number,
  fits: (observed: Observed) => boolean = () => true,
): Summary {
  const observed = replicas.flatMap(replica => replica.observed.filter(fits))
  const ages = Float64Array.from(
    observed.filter(({ outcome }) => outcome === 'answered').map(({ ageMs }) => ageMs),
  ).sort()
  const share = (...outcomes: Observed['outcome'][]) =>
    observed.filter(({ outcome }) => outcomes.includes(outcome)).length / Math.max(1, observed.length)
  const sum = (of: (replica: ReplicaFigures) => number) =>
    replicas.reduce((total, replica) => total + of(replica), 0)
  return {
    observations: observed.length,
    answered: share('answered'),
    superseded: share('superseded'),
    expired: share('expired'),
    refused: share('overloaded', 'under way'),
    late: ages.filter(age => age > lateAfterMs).length / Math.max(1, ages.length),
    ageP50: ages.length > 0 ? percentile(ages, 50) : null,
    ageP99: ages.length > 0 ? percentile(ages, 99) : null,
    batchRows:
      sum(({ rows }) => rows) /
      Math.max(
        1,
        sum(({ batches }) => batches),
      ),
    busy: sum(({ busy }) => busy) / Math.max(1, replicas.length),
  }
}
