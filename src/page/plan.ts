import { BASE_VIEW, toPixel } from '../tabletop/drawing.js'
import { svg } from './dom.js'
import type { PlannedPoint } from './robot.js'

/** A chunk drawn over the base camera: the gripper's way in the air, its shadow, and where the fingers act. */
export class PlanOverlay {
  readonly #shadow = svg('polyline', { class: 'shadow' })
  readonly #casing = svg('polyline', { class: 'casing' })
  readonly #rest = svg('polyline', { class: 'rest' })
  readonly #next = svg('polyline', { class: 'next' })
  readonly #marks = svg('g')

  constructor(host: SVGElement) {
    host.append(this.#shadow, this.#casing, this.#rest, this.#next, this.#marks)
  }

  /** `points[played]` is where the gripper is; those up to `replan` will be played before the next chunk. */
  draw(points: readonly PlannedPoint[], played: number, replan: number): void {
    const air = points.map(({ x, y, z }) => toPixel(BASE_VIEW, x, y, z))
    const table = points.map(({ x, y }) => toPixel(BASE_VIEW, x, y))
    const set = (line: SVGElement, spots: [number, number][]) =>
      line.setAttribute('points', spots.map(spot => spot.map(n => n.toFixed(2)).join()).join(' '))
    set(this.#shadow, table.slice(played))
    set(this.#casing, air.slice(played))
    set(this.#next, air.slice(played, replan + 1))
    set(this.#rest, air.slice(Math.max(played, replan)))
    this.#marks.replaceChildren()
    for (let at = played + 1; at < points.length; at++) {
      const [cx, cy] = air[at]!
      const acts = points[at]!.closed !== points[at - 1]!.closed
      if (!acts && at > replan) continue
      const kind = acts ? (points[at]!.closed ? 'closes' : 'opens') : 'moves'
      this.#marks.append(
        svg('circle', { cx: cx.toFixed(2), cy: cy.toFixed(2), r: acts ? 0.95 : 0.2, class: kind }),
      )
    }
  }
}
