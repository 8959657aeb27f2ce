import uPlot from 'uplot'
import { html } from './dom.js'

export interface ChartSeries {
  label: string
  /** Custom property of style.css that holds its colour. */
  colour: `--${string}`
  format(value: number): string
}

/** How much of the past a chart shows. */
const WINDOW_S = 60
const HEIGHT = 132

const colour = (property: string) =>
  getComputedStyle(document.documentElement).getPropertyValue(property).trim()

/** Curves over the last minute, one point a sample. */
export class TimeChart {
  readonly #series: readonly ChartSeries[]
  readonly #values: HTMLElement[]
  readonly #plot: uPlot
  readonly #times: number[] = []
  readonly #curves: number[][]
  #drawn = false

  constructor(host: HTMLElement, title: string, series: readonly ChartSeries[]) {
    this.#series = series
    this.#curves = series.map(() => [])
    this.#values = series.map(() => html('b', '–'))
    const legend = html('p', '', 'legend')
    for (const [at, { label, colour }] of series.entries()) {
      const dot = html('i')
      dot.style.background = `var(${colour})`
      const entry = html('span')
      entry.append(dot, `${label} `, this.#values[at]!)
      legend.append(entry)
    }
    const plot = html('div', '', 'plot')
    plot.setAttribute('role', 'img')
    plot.setAttribute('aria-label', `${title}, last minute`)
    host.append(html('h3', title), legend, plot)

    const axis: uPlot.Axis = {
      stroke: () => colour('--muted'),
      grid: { stroke: () => colour('--line'), width: 1 },
      ticks: { show: false },
      font: '11px system-ui, sans-serif',
    }
    this.#plot = new uPlot(
      {
        width: plot.clientWidth || 300,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        padding: [8, 14, 0, 0],
        scales: {
          x: { time: false, range: [-WINDOW_S, 0] },
          y: { range: (_chart, _low, high) => [0, Math.max(1, high * 1.15)] },
        },
        axes: [
          { ...axis, size: 22, values: (_chart, ticks) => ticks.map(t => (t === 0 ? 'now' : `${t} s`)) },
          { ...axis, size: 38 },
        ],
        series: [
          {},
          ...series.map(entry => ({
            label: entry.label,
            stroke: () => colour(entry.colour),
            width: 1.5,
            points: { show: false },
          })),
        ],
      },
      [[], ...series.map(() => [])],
      plot,
    )
    new ResizeObserver(() => this.#plot.setSize({ width: plot.clientWidth, height: HEIGHT })).observe(plot)
    setInterval(() => this.#draw(), 250)
  }

  /** One value a series. */
  add(values: readonly number[]): void {
    this.#times.push(performance.now() / 1000)
    for (const [at, value] of values.entries()) {
      this.#curves[at]!.push(value)
      this.#values[at]!.textContent = this.#series[at]!.format(value)
    }
    this.#drawn = false
  }

  #draw(): void {
    if (document.hidden || (this.#drawn && this.#times.length === 0)) return
    const now = performance.now() / 1000
    const stale = this.#times.findIndex(time => time >= now - WINDOW_S)
    const drop = stale < 0 ? this.#times.length : stale
    for (const column of [this.#times, ...this.#curves]) column.splice(0, drop)
    this.#plot.setData([this.#times.map(time => time - now), ...this.#curves])
    this.#drawn = true
  }
}
