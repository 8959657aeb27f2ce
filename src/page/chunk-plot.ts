import { compact, html, nameOf, svg } from './dom.js'

/** An action chunk as small multiples: one curve a dimension, on the range that has been seen of it. */
export class ChunkPlot {
  readonly #host: HTMLElement
  readonly #joints: readonly string[]
  #panels: Panel[] = []

  /** `joints` are the names of the dimensions. */
  constructor(host: HTMLElement, joints: readonly string[]) {
    this.#host = host
    this.#joints = joints
  }

  /** `played` actions have been carried out, those before `replan` will be. */
  draw(chunk: readonly number[][], played?: number, replan?: number): void {
    const size = chunk[0]?.length ?? this.#panels.length
    if (size !== this.#panels.length) {
      this.#panels = Array.from({ length: size }, (_, at) => new Panel(this.#joints[at] ?? `action ${at}`))
      this.#host.replaceChildren(...this.#panels.map(panel => panel.element))
    }
    for (const [at, panel] of this.#panels.entries())
      panel.draw(
        chunk.map(action => action[at]!),
        played,
        replan,
      )
  }
}

const WIDTH = 100
const HEIGHT = 40
const MARGIN = 4
/** Characters of a name that has no room beside its value. */
const LONG_NAME = 7
/** What moves less than this is shown as standing still. */
const SMALLEST_RANGE = 0.01

class Panel {
  readonly element = html('figure')
  readonly #name: string
  readonly #value = html('span', '', 'value')
  readonly #plot = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' })
  readonly #window = svg('rect', { class: 'window', y: 0, height: HEIGHT })
  readonly #zero = svg('line', { class: 'zero', x1: 0, x2: WIDTH })
  readonly #curve = svg('polyline', { class: 'curve' })
  readonly #now = svg('line', { class: 'now', y1: 0, y2: HEIGHT })
  #low = 0
  #high = 0

  constructor(name: string) {
    this.#name = name
    const caption = html('figcaption')
    caption.append(nameOf(name), this.#value)
    caption.classList.toggle('long', name.length > LONG_NAME)
    this.#plot.append(this.#window, this.#zero, this.#curve, this.#now)
    this.element.append(caption, this.#plot)
  }

  draw(values: readonly number[], played = 0, replan = 0): void {
    this.#low = Math.min(this.#low, ...values)
    this.#high = Math.max(this.#high, ...values)
    const range = Math.max(this.#high - this.#low, SMALLEST_RANGE)
    const low = (this.#low + this.#high - range) / 2
    const x = (at: number) => (values.length > 1 ? (at / (values.length - 1)) * WIDTH : 0)
    const y = (value: number) => HEIGHT - MARGIN - ((value - low) / range) * (HEIGHT - 2 * MARGIN)
    this.#curve.setAttribute(
      'points',
      values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(' '),
    )
    place(this.#zero, { y1: y(0), y2: y(0) })
    place(this.#window, { x: 0, width: replan > 0 && values.length > 0 ? x(replan - 1) : 0 })
    const shown = Math.max(0, played - 1)
    place(this.#now, { x1: x(shown), x2: x(shown) })
    this.#now.classList.toggle('hidden', played === 0)
    const value = values[shown]
    this.#value.textContent = value === undefined ? '' : compact(value)
    this.#plot.setAttribute(
      'aria-label',
      values.length === 0
        ? `${this.#name}: no chunk yet`
        : `${this.#name}: from ${compact(values[0]!)} to ${compact(values.at(-1)!)} over ${values.length} actions`,
    )
  }
}

function place(element: SVGElement, attributes: Record<string, number>): void {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value.toFixed(2))
}
