import type { CheckResult } from '../../policy/loading/checklist.js'

const MARKS = { ok: 'ok', failed: 'WRONG', skipped: 'skipped', note: 'note' }

/** The checks of a policy directory as a table, and how many of them failed. */
export function checksReport(results: readonly CheckResult[]): { text: string; wrong: number } {
  const width = Math.max(...results.map(result => result.name.length))
  const indent = `\n${' '.repeat(width + 11)}`
  const lines = results.map(
    ({ name, status, detail }) =>
      `${name.padEnd(width)}  ${MARKS[status].padEnd(7)}  ${detail.replaceAll('\n', indent)}`,
  )
  const wrong = results.filter(({ status }) => status === 'failed').length
  const verdict =
    wrong === 0 ? 'Nothing wrong was found.' : `${wrong} of ${results.length} checks found something wrong.`
  return { text: [...lines, '', verdict].join('\n'), wrong }
}
