import type { Tolerance } from '../../onnx/arithmetic.js'
import { allPassed, type CaseResult, exceeded, failed, type Tolerances } from '../../verification/results.js'
import type { Comparison } from '../../verification/two-runtimes.js'
import { alignedTable } from '../kit/table.js'

const number = (value: number) => (value === 0 ? '0' : value.toExponential(1))

const figure = ({ max, mean }: Tolerance, { mean: asked }: Tolerance) =>
  asked === undefined ? number(max) : `${number(max)} (${number(mean!)})`

/**
 * A row a case, a column a kind, each cell the largest absolute difference, and the mean in brackets where it has a
 * tolerance; `!` marks what exceeds.
 */
export function casesReport(results: readonly CaseResult[], tolerances: Tolerances): string {
  const kinds = Object.keys(tolerances)
  const rows = results.map(result => [
    result.name,
    ...kinds.map(kind => {
      const found = result.differences[kind]
      if (!found) return '-'
      return figure(found, tolerances[kind]!) + (exceeded(result, tolerances).includes(kind) ? ' !' : '')
    }),
    result.skipped ? `skipped: ${result.skipped}` : exceeded(result, tolerances).length ? 'FAILED' : 'ok',
  ])
  const allowed = ['tolerance', ...kinds.map(kind => figure(tolerances[kind]!, tolerances[kind]!)), '']
  const bad = results.filter(result => failed(result, tolerances)).length
  const left = results.filter(result => result.notComputed).length
  const ran = results.length - left
  return [
    alignedTable(['case', ...kinds, ''], [...rows, allowed]),
    '',
    (allPassed(results, tolerances) ? `all ${ran} cases passed` : `${bad} of ${ran} cases did not pass`) +
      (left ? `; ${left} skipped` : ''),
  ].join('\n')
}

/** A row a number of steps. */
export function comparisonReport(
  { reference, verified, agreements }: Comparison,
  observations: number,
  policy: string,
): string {
  const rows = agreements.map(({ steps, max, mean, cosine }) => [
    String(steps),
    max.toExponential(2),
    mean.toExponential(2),
    cosine.toFixed(6),
  ])
  return [
    `policy:    ${policy}`,
    `verified:  ${verified}`,
    `reference: ${reference}`,
    `${observations} observations; differences of normalised actions`,
    '',
    alignedTable(['steps', 'max', 'mean', 'cosine'], rows),
  ].join('\n')
}
