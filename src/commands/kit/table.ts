type Cells = readonly string[]

const line = (cells: Cells) => `| ${cells.join(' | ')} |`

/** A table in Markdown, for documents. */
export function markdownTable(head: Cells, rows: readonly Cells[]): string {
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

const NUMERIC = /^([-–]?\d.*|-|)$/

/** A table in Markdown whose columns stand in line on a terminal: texts to the left, columns of numbers to the right. */
export function alignedTable(head: Cells, rows: readonly Cells[]): string {
  const columns = head.map((name, at) => {
    const cells = rows.map(row => row[at] ?? '')
    const width = Math.max(3, ...[name, ...cells].map(cell => cell.length))
    const right = cells.every(cell => NUMERIC.test(cell))
    const pad = (cell: string) => (right ? cell.padStart(width) : cell.padEnd(width))
    return [name, ...cells].map(pad).toSpliced(1, 0, right ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width))
  })
  return columns[0]!.map((_, row) => line(columns.map(column => column[row]!))).join('\n')
}
