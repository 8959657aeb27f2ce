import type { Timed, Totals } from '../../contract/page.js'
import type { Served } from '../../service/served.js'

/** What all policies of a server have done together. */
export function totalsOf(policies: readonly Served[]): Totals {
  const all = policies.map(({ metrics }) => metrics.totals)
  const sum = (of: (totals: Totals) => number) => all.reduce((before, totals) => before + of(totals), 0)
  const timed = (of: (totals: Totals) => Timed): Timed => ({
    count: sum(totals => of(totals).count),
    seconds: sum(totals => of(totals).seconds),
  })
  return {
    answers: sum(({ answers }) => answers),
    answered: timed(({ answered }) => answered),
    engine: timed(({ engine }) => engine),
    waited: timed(({ waited }) => waited),
  }
}
