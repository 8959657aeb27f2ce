import { wilsonInterval } from '../../../src/commands/eval/report.js'
import { machineLine } from '../../../src/commands/kit/machine.js'
import { alignedTable } from '../../../src/commands/kit/table.js'
import type { Condition } from './conditions.js'
import type { EpisodeResult, Setup } from './episodes.js'
import { MUTATIONS } from './mutations.js'
import { mcnemar, percentile } from './statistics.js'

const percent = (rate: number) => (100 * rate).toFixed(1)

export interface Comparison {
  /** Pairs: episodes that both conditions have played. */
  pairs: number
  /** Pairs that the default alone solved. */
  lost: number
  /** Pairs that the default alone did not solve. */
  won: number
  /** Of the exact McNemar test. */
  p: number
}

/** Two conditions by the episodes that both have played: the same task from the same initial state. */
export function compared(before: readonly EpisodeResult[], after: readonly EpisodeResult[]): Comparison {
  const key = ({ task, episode }: EpisodeResult) => `${task}/${episode}`
  const solved = new Map(before.map(result => [key(result), result.solved]))
  const pairs = after.filter(result => solved.has(key(result)))
  const count = (was: boolean, is: boolean) =>
    pairs.filter(result => solved.get(key(result)) === was && result.solved === is).length
  const [lost, won] = [count(true, false), count(false, true)]
  return { pairs: pairs.length, lost, won, p: mcnemar(lost, won) }
}

/** The tables of an evaluation, in Markdown. Conditions without an episode are left out; the first is what others are compared to. */
export function report(
  setup: Setup,
  conditions: readonly Condition[],
  episodes: readonly EpisodeResult[],
): string {
  const played = conditions
    .map(condition => ({
      condition,
      results: episodes.filter(result => result.condition === condition.name),
    }))
    .filter(({ results }) => results.length > 0)
  const [first] = played
  const rows = played.map(({ condition, results }) => {
    const calls = results.flatMap(result => result.calls)
    const taken = results.filter(({ solved }) => solved).map(({ steps }) => steps)
    const { pairs, lost, won, p } = compared(first!.results, results)
    return [
      condition.name,
      rateOf(results),
      taken.length === 0 ? '-' : (taken.reduce((sum, steps) => sum + steps, 0) / taken.length).toFixed(1),
      ...[0.5, 0.99].map(share => (calls.length === 0 ? '-' : percentile(calls, share).toFixed(1))),
      condition === first!.condition || pairs === 0 ? '' : `${won} won, ${lost} lost of ${pairs}`,
      condition === first!.condition || pairs === 0 ? '' : p < 0.001 ? '< 0.001' : p.toFixed(3),
    ]
  })
  const mutated = played.filter(({ condition }) => condition.mutation !== 'none')
  return [
    `${setup.policy} (${setup.model.slice(0, 12)}), ${setup.suite}, ${setup.execute} actions of a chunk carried out`,
    machineLine(),
    '',
    alignedTable(
      ['condition', 'success (95 % interval)', 'mean steps', 'p50 ms', 'p99 ms', 'pairs', 'p'],
      rows,
    ),
    '',
    alignedTable(
      ['task', ...played.map(({ condition }) => condition.name)],
      setup.tasks.map((prompt, task) => [
        prompt,
        ...played.map(({ results }) => countOf(results.filter(result => result.task === task))),
      ]),
    ),
    ...mutated.map(({ condition }) => `\n${condition.mutation}: ${MUTATIONS[condition.mutation].what}`),
    '',
  ].join('\n')
}

const countOf = (results: readonly EpisodeResult[]) =>
  results.length === 0 ? '-' : `${results.filter(({ solved }) => solved).length}/${results.length}`

function rateOf(results: readonly EpisodeResult[]): string {
  const solved = results.filter(result => result.solved).length
  const [low, high] = wilsonInterval(solved, results.length)
  return `${solved}/${results.length} = ${percent(solved / results.length)} % (${percent(low)}–${percent(high)})`
}
