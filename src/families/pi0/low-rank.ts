/** How a pair of adapters is added to a weight. */
export interface LowRank {
  rank: number
  /** Factor of the product. */
  scale: number
  /** Matrices that come one after another in the weight; 1 by default. */
  batch?: number
  /** Every matrix takes the sum of all `b`; openpi's attention output does. */
  sharedB?: boolean
}

/**
 * w + scale · a·b in float64, kept as float32: `batch` matrices [rows, columns] of w, with a [rows, rank] and
 * b [rank, columns] of each.
 */
export function merged(
  w: Float32Array,
  a: Float32Array,
  b: Float32Array,
  { rank, scale, batch = 1, sharedB = false }: LowRank,
): Float32Array<ArrayBuffer> {
  const rows = a.length / batch / rank
  const columns = w.length / batch / rows
  const shared = sharedB ? summed(b, batch) : undefined
  const result = new Float32Array(w.length)
  const row = new Float64Array(columns)
  for (let m = 0; m < batch; m++) {
    const right = shared ?? b.subarray(m * rank * columns, (m + 1) * rank * columns)
    for (let r = 0; r < rows; r++) {
      row.fill(0)
      const left = (m * rows + r) * rank
      for (let k = 0; k < rank; k++) {
        const factor = a[left + k]!
        for (let c = 0; c < columns; c++) row[c]! += factor * right[k * columns + c]!
      }
      const start = (m * rows + r) * columns
      for (let c = 0; c < columns; c++) result[start + c] = w[start + c]! + scale * row[c]!
    }
  }
  return result
}

/** The sum of `count` arrays that come one after another. */
function summed(values: Float32Array, count: number): Float64Array {
  const size = values.length / count
  const sum = new Float64Array(size)
  for (let i = 0; i < values.length; i++) sum[i % size]! += values[i]!
  return sum
}
