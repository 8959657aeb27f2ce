import { promptOf, SUITE } from '../../tabletop/tasks.js'
import { machineLine } from '../kit/machine.js'
import { alignedTable } from '../kit/table.js'
import type { EpisodeResult, Setup } from './episode.js'

export interface EvaluationResult {
  /** Denoise steps; null: those that the server takes when it is not told. */
  steps: number | null
  protocol: string
  /** What served: policy, runtime and precision, or an address. */
  server: string
  episodes: EpisodeResult[]
}

/** 95 % interval of a success rate (Wilson's score interval), in 0…1. */
export function wilsonInterval(successes: number, count: number): [low: number, high: number] {
  const z = 1.959964
  const rate = successes / count
  const centre = rate + z ** 2 / (2 * count)
  const spread = z * Math.sqrt((rate * (1 - rate)) / count + z ** 2 / (4 * count ** 2))
  const scale = 1 + z ** 2 / count
  return [Math.max(0, (centre - spread) / scale), Math.min(1, (centre + spread) / scale)]
}

/** The tables of an evaluation, in Markdown. */
export function report({ episodes, execute, seed }: Setup, results: readonly EvaluationResult[]): string {
  const [first] = results
  const taskRows = SUITE.slice(0, episodes).map(task => {
    const name = promptOf(task)
    return [name, ...results.map(result => rateOf(result.episodes.filter(({ task }) => task === name)))]
  })
  return [
    `${first!.server}, ${first!.protocol}; ${episodes} episodes from seed ${seed}, ${execute} actions of a chunk carried out`,
    machineLine(),
    '',
    alignedTable(
      ['denoise steps', 'success (95 % interval)', 'mean control steps', 'mean ms', 'p99 ms'],
      results.map(({ steps, episodes }) => {
        const latencies = episodes.flatMap(episode => episode.latencies)
        const taken = episodes.map(episode => episode.steps)
        const figures = [mean(taken), mean(latencies), percentile(latencies, 0.99)]
        return [stepsText(steps), rateOf(episodes), ...figures.map(figure => figure.toFixed(1))]
      }),
    ),
    '',
    alignedTable(['task', ...results.map(({ steps }) => `denoise steps: ${stepsText(steps)}`)], taskRows),
  ].join('\n')
}

function rateOf(episodes: readonly EpisodeResult[]): string {
  const solved = episodes.filter(({ success }) => success).length
  const percent = (rate: number) => (100 * rate).toFixed(1)
  const [low, high] = wilsonInterval(solved, episodes.length)
  return `${solved}/${episodes.length} = ${percent(solved / episodes.length)} % (${percent(low)}–${percent(high)})`
}

const stepsText = (steps: number | null) => (steps === null ? 'the server’s' : String(steps))

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

/** The smallest value that `share` of all values do not exceed. */
function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!
}
