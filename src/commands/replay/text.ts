import type { DifferenceReport } from '../../recording/differences.js'
import type { ReplayReport } from '../../recording/replay.js'
import { alignedTable } from '../kit/table.js'

const number = (value: number) => (value === 0 ? '0' : value.toExponential(2))

/** A report for a terminal. */
export function replayText(report: ReplayReport): string {
  const { recorded, replayed, against, observations, bitExact } = report
  const notes = [
    recorded?.model !== replayed.model && 'the model is another than the recorded one',
    report.lossy > 0 &&
      `${report.lossy} observations have pictures that were recorded as JPEG, not as they came`,
    report.dropped > 0 && `${report.dropped} records are missing in the recording`,
    ...report.cut.map(cut => `cut short: ${cut}`),
  ].filter(note => note !== false)
  return [
    `recorded: ${recorded ? `${recorded.policy}, ${recorded.runtime?.backend} ${recorded.runtime?.precision}, model ${recorded.model}` : 'the file does not tell'}`,
    `replayed: ${replayed.title}, model ${replayed.model}`,
    ...(against ? [`against:  ${against.title}, model ${against.model}`] : []),
    `${bitExact} of ${observations} chunks are bit for bit as recorded`,
    ...notes.map(note => `note: ${note}`),
    ...Object.entries(report.comparisons).flatMap(([name, found]) => ['', ...comparison(name, found)]),
  ].join('\n')
}

function comparison(name: string, { chunks, exact, first, joints, rows }: DifferenceReport): string[] {
  const head = `${name}: ${exact} of ${chunks} chunks are equal`
  if (!first) return [head]
  const worst = rows.reduce((most, { max }, row) => (max > (rows[most]?.max ?? 0) ? row : most), 0)
  return [
    head,
    `first difference: observation ${first.observation}${first.robot ? ` of ${first.robot}` : ''}, row ${first.row}, ${first.joint}: ${first.one} and ${first.other}`,
    `largest in row ${worst}`,
    alignedTable(
      ['joint', 'largest', 'mean'],
      joints.map(({ joint, max, mean }) => [joint, number(max), number(mean)]),
    ),
  ]
}
