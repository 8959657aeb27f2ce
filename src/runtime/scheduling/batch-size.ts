/** Which of those that wait may share the next batch. */
export interface BatchSize {
  /** Most rows. */
  readonly rows: number
  /** Whose deadline is earlier is passed over. */
  readonly notBefore: number
  /** Whether rows are added only while the batch ends within the earliest deadline among them. */
  readonly bounded: boolean
}

/**
 * How large the next batch may be, so that deadlines are kept; `end` tells when one of so many rows would have its answers.
 * While every deadline can still be kept, the most urgent bounds the batch that it is in. Once one cannot, there is more work than
 * time: the most urgent are then those that are nearly lost, and batches as small as these need would lose the rest, too. So
 * the batch is the largest of which all rows are in time, whoever else waits. When nobody can be in time, nobody counts.
 */
export function batchSize(
  deadlines: readonly number[],
  most: number,
  end: (rows: number) => number,
): BatchSize {
  if (deadlines.every(deadline => deadline === Number.POSITIVE_INFINITY))
    return { rows: most, notBefore: Number.NEGATIVE_INFINITY, bounded: false }
  const soonest = end(1)
  if (deadlines.every(deadline => deadline >= soonest))
    return { rows: most, notBefore: Number.NEGATIVE_INFINITY, bounded: true }
  const latestFirst = deadlines.toSorted((a, b) => b - a)
  let rows = Math.min(most, latestFirst.length)
  while (rows > 0 && latestFirst[rows - 1]! < end(rows)) rows -= 1
  return rows > 0
    ? { rows, notBefore: end(rows), bounded: false }
    : { rows: most, notBefore: Number.NEGATIVE_INFINITY, bounded: false }
}
