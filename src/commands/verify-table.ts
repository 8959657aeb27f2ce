/** Differences of one kind of tensor from its reference. */
export interface Difference {
  max: number
  mean: number
}

/** What one case gave: a difference for each kind that it holds, or why it was not run. */
export interface CaseResult {
  name: string
  differences: Readonly<Record<string, Difference>>
  skipped?: string
}

/** Largest absolute difference that a kind may have. */
export type Tolerances = Readonly<Record<string, number>>

/** Largest and mean absolute difference; NaN on either side makes both NaN, which no tolerance passes. */
export function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): Difference {
  if (actual.length !== expected.length) return { max: Number.NaN, mean: Number.NaN }
  let max = 0
  let sum = 0
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(actual[i]! - expected[i]!)
    sum += d
    if (!(d <= max)) max = d
  }
  return Number.isNaN(sum)
    ? { max: sum, mean: sum }
    : { max, mean: expected.length ? sum / expected.length : 0 }
}

/** The difference of several parts of one kind together; parts may be of unequal size. */
export function combined(parts: readonly (Difference & { count: number })[]): Difference {
  const count = parts.reduce((sum, part) => sum + part.count, 0)
  return {
    max: Math.max(0, ...parts.map(part => part.max)),
    mean: count ? parts.reduce((sum, part) => sum + part.mean * part.count, 0) / count : 0,
  }
}

/** Kinds of a case that exceed their tolerance. */
export function exceeded({ differences }: CaseResult, tolerances: Tolerances): string[] {
  return Object.entries(differences)
    .filter(([kind, { max }]) => !(max <= tolerances[kind]!))
    .map(([kind]) => kind)
}

/** Every case ran, and within the tolerances. */
export function allPassed(results: readonly CaseResult[], tolerances: Tolerances): boolean {
  return (
    results.length > 0 &&
    results.every(result => !result.skipped && exceeded(result, tolerances).length === 0)
  )
}

const figure = (value: number) => (value === 0 ? '0' : value.toExponential(1))

/** A row a case, a column a kind, each cell the largest absolute difference; `!` marks what exceeds its tolerance. */
export function differenceTable(results: readonly CaseResult[], tolerances: Tolerances): string {
  const kinds = Object.keys(tolerances)
  const rows = results.map(result => [
    result.name,
    ...kinds.map(kind => {
      const found = result.differences[kind]
      if (!found) return '-'
      return figure(found.max) + (exceeded(result, tolerances).includes(kind) ? ' !' : '')
    }),
    result.skipped ? `skipped: ${result.skipped}` : exceeded(result, tolerances).length ? 'FAILED' : 'ok',
  ])
  const table = [
    ['case', ...kinds, ''],
    ...rows,
    ['tolerance', ...kinds.map(kind => figure(tolerances[kind]!)), ''],
  ]
  const widths = table[0]!.map((_, column) => Math.max(...table.map(row => row[column]!.length)))
  const last = widths.length - 1
  return table
    .map(row =>
      row
        .map((cell, column) => (column === last ? cell : cell.padEnd(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
