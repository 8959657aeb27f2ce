import type { DifferenceReport, Spread } from './differences.js'
import type { Curve, ReplayReport } from './replay.js'

const WIDTH = 640
const HEIGHT = 120
const MARGIN = 6
/** Of the curves, in order; the later ones are drawn dashed above the earlier. */
const COLOURS = ['#888', '#0b62c4', '#c4420b']

const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

const number = (value: number) => (value === 0 ? '0' : value.toExponential(2))

/** A report of a replay as one HTML file that loads nothing: tables, and plots as SVG. */
export function replayHtml(report: ReplayReport, joints: readonly string[]): string {
  const comparisons = Object.entries(report.comparisons)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="content-security-policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Replay of ${escaped(report.files.join(', '))}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem }
td, th { border-bottom: 1px solid #ddd; padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; font-variant-numeric: tabular-nums }
svg { width: 100%; height: ${HEIGHT}px; background: #f6f6f6 }
figure { margin: 0 0 1rem }
</style>
<h1>Replay</h1>
${summary(report)}
${comparisons.map(([name, found]) => comparison(name, found)).join('\n')}
<h2>First action of each chunk</h2>
<p>${report.curves.map(({ name }, at) => `<span style="color:${COLOURS[at]}">■</span> ${escaped(name)}`).join(' ')}; the first ${report.curves[0]?.values.length ?? 0} observations, in the order of the recording.</p>
${joints.map((joint, at) => plot(joint, report.curves, at)).join('\n')}
</html>
`
}

function summary(report: ReplayReport): string {
  const { recorded, replayed, against, observations, bitExact } = report
  const rows: [string, string][] = [
    ['files', report.files.join(', ')],
    ['recorded', recorded ? `${recorded.policy}, model ${recorded.model}` : 'the file does not tell'],
    ['replayed', `${replayed.title}, model ${replayed.model}`],
    ...(against ? [['against', `${against.title}, model ${against.model}`] as [string, string]] : []),
    ['observations', String(observations)],
    ['bit for bit as recorded', `${bitExact} of ${observations}`],
    ['recorded as JPEG, not exact', String(report.lossy)],
    ['errors, skipped', `${report.errors}, ${report.skipped}`],
    ['missing in the recording', String(report.dropped)],
    ...report.cut.map(cut => ['cut', cut] as [string, string]),
  ]
  return table(rows.map(([name, value]) => [`<th>${escaped(name)}</th>`, `<td>${escaped(value)}</td>`]))
}

function comparison(name: string, { chunks, exact, first, joints, rows }: DifferenceReport): string {
  const place = first
    ? `First difference: observation ${first.observation}${first.robot ? ` of ${first.robot}` : ''}, row ${first.row}, ${first.joint}: ${first.one} and ${first.other}.`
    : 'No difference.'
  const cells = (spread: Spread) => [`<td>${number(spread.max)}</td>`, `<td>${number(spread.mean)}</td>`]
  const head = (what: string) => [`<th>${what}</th>`, '<th>largest</th>', '<th>mean</th>']
  return `<h2>${escaped(name)}</h2>
<p>${exact} of ${chunks} chunks are equal. ${escaped(place)}</p>
${table([head('joint'), ...joints.map(spread => [`<td>${escaped(spread.joint)}</td>`, ...cells(spread)])])}
${table([head('row'), ...rows.map((spread, row) => [`<td>${row}</td>`, ...cells(spread)])])}`
}

const table = (rows: readonly (readonly string[])[]) =>
  `<table>${rows.map(cells => `<tr>${cells.join('')}</tr>`).join('')}</table>`

function plot(joint: string, curves: readonly Curve[], at: number): string {
  const all = curves.flatMap(({ values }) => values.map(action => action[at]!))
  if (all.length === 0) return ''
  const [low, high] = [Math.min(...all), Math.max(...all)]
  const range = high - low || 1
  const line = ({ values }: Curve, curve: number) => {
    const points = values.map((action, index) => {
      const x = (index / Math.max(1, values.length - 1)) * WIDTH
      const y = HEIGHT - MARGIN - ((action[at]! - low) / range) * (HEIGHT - 2 * MARGIN)
      return `${x.toFixed(1)},${y.toFixed(1)}`
    })
    const dash = curve > 0 ? ` stroke-dasharray="${4 * curve} 3"` : ''
    return `<polyline fill="none" stroke="${COLOURS[curve]}" stroke-width="1.5"${dash} points="${points.join(' ')}"/>`
  }
  return `<figure><figcaption>${escaped(joint)}, ${number(low)} to ${number(high)}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${escaped(joint)}">${curves.map(line).join('')}</svg></figure>`
}
