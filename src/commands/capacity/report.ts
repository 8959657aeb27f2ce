import type { Demand, Plan } from '../../capacity/fleet.js'
import type { Profile } from '../../capacity/profile.js'
import type { Summary } from '../../capacity/summary.js'
import { alignedTable } from '../kit/table.js'

const ms = (value: number | null) => (value === null ? 'none' : value.toFixed(1))
const percent = (share: number) => `${(100 * share).toFixed(1)} %`

/** The plan, for people. */
export function described(
  profile: Profile,
  demand: Demand,
  { replicas, fleet, lost, robotsPerReplica }: Plan,
): string {
  const { robots, hertz, ageP99Ms, leastAnswered, delay } = demand
  const asked = `${robots} robots at ${hertz} Hz, ages of at most ${ageP99Ms} ms (p99), ${percent(leastAnswered)} answered`
  const lines = [
    `${profile.policy}, ${profile.backend} ${profile.precision}, ${profile.steps} steps; ${profile.device}`,
    `${asked}; network ${delay.p50} ms (p99 ${delay.p99} ms) each way\n`,
  ]
  if (replicas === null) {
    const alone = `A robot alone gets answers of ${ms(fleet.ageP50)} ms, p99 ${ms(fleet.ageP99)} ms`
    return [...lines, `No number of replicas is enough. ${alone}, ${percent(fleet.answered)} answered.`].join(
      '\n',
    )
  }
  const columns: [string, Summary][] = [['all replicas', fleet]]
  if (lost?.after) columns.push(['after the loss of one', lost.after])
  const row = (name: string, of: (summary: Summary) => string) => [
    name,
    ...columns.map(([, summary]) => of(summary)),
  ]
  const table = alignedTable(
    ['', ...columns.map(([name]) => name)],
    [
      row('age p50, ms', ({ ageP50 }) => ms(ageP50)),
      row('age p99, ms', ({ ageP99 }) => ms(ageP99)),
      row('answered', ({ answered }) => percent(answered)),
      row(`late, over ${ageP99Ms} ms`, ({ late }) => percent(late)),
      row('superseded', ({ superseded }) => percent(superseded)),
      row('expired', ({ expired }) => percent(expired)),
      row('refused', ({ refused }) => percent(refused)),
      row('rows of a batch', ({ batchRows }) => batchRows.toFixed(1)),
      row('engine at work', ({ busy }) => percent(busy)),
    ],
  )
  return [
    ...lines,
    `${replicas === 1 ? '1 replica' : `${replicas} replicas`}, ${robotsPerReplica} robots each\n`,
    table,
    '',
    lostLine(lost, demand),
  ].join('\n')
}

function lostLine(lost: Plan['lost'], { reconnectMs, ageP99Ms, leastAnswered }: Demand): string {
  if (!lost) return ''
  const { robots, replicas, outageP50, outageMost, after } = lost
  if (!after) return `The loss of the only replica leaves ${robots} robots without answers until it is back.`
  const holds = after.ageP99 !== null && after.ageP99 <= ageP99Ms && after.answered >= leastAnswered
  const kept = holds ? 'keep what was asked for' : `do not keep what was asked for: ${replicas + 2} would`
  return [
    `The loss of one leaves ${robots} robots without answers for ${ms(outageP50)} ms (most ${ms(outageMost)} ms);`,
    `they are connected elsewhere after ${reconnectMs} ms. The ${replicas} others ${kept}.`,
  ].join('\n')
}
