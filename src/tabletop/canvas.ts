import { clamp } from './scene.js'

export type Rgb = readonly [number, number, number]

/** A square RGB image in floats (0…255) with antialiased discs and upright rectangles. Row 0 is the top. */
export class Canvas {
  readonly data: Float32Array

  constructor(readonly size: number) {
    this.data = new Float32Array(size * size * 3)
  }

  fill(colour: Rgb): void {
    for (let i = 0; i < this.data.length; i += 3) this.data.set(colour, i)
  }

  /** Rectangle of centre and half sides, in pixels; each pixel is blended by the area that is covered. */
  rectangle(x: number, y: number, halfWidth: number, halfHeight: number, colour: Rgb, alpha = 1): void {
    const [left, right, top, bottom] = [x - halfWidth, x + halfWidth, y - halfHeight, y + halfHeight]
    const [firstColumn, lastColumn] = this.#span(left, right)
    const [firstRow, lastRow] = this.#span(top, bottom)
    for (let row = firstRow; row < lastRow; row++) {
      const high = Math.min(bottom, row + 1) - Math.max(top, row)
      for (let column = firstColumn; column < lastColumn; column++) {
        const wide = Math.min(right, column + 1) - Math.max(left, column)
        this.#blend(row, column, colour, alpha * high * wide)
      }
    }
  }

  /** Disc of centre and radius, in pixels, with an edge one pixel soft. */
  disc(x: number, y: number, radius: number, colour: Rgb, alpha = 1): void {
    const [firstColumn, lastColumn] = this.#span(x - radius - 1, x + radius + 1)
    const [firstRow, lastRow] = this.#span(y - radius - 1, y + radius + 1)
    for (let row = firstRow; row < lastRow; row++) {
      const dy = row + 0.5 - y
      for (let column = firstColumn; column < lastColumn; column++) {
        const dx = column + 0.5 - x
        const cover = clamp(radius + 0.5 - Math.sqrt(dx * dx + dy * dy), 0, 1)
        if (cover > 0) this.#blend(row, column, colour, alpha * cover)
      }
    }
  }

  #span(low: number, high: number): [number, number] {
    return [Math.max(0, Math.floor(low)), Math.min(this.size, Math.ceil(high))]
  }

  #blend(row: number, column: number, colour: Rgb, alpha: number): void {
    const at = (row * this.size + column) * 3
    for (let channel = 0; channel < 3; channel++) {
      const under = this.data[at + channel]!
      this.data[at + channel] = under + (colour[channel]! - under) * alpha
    }
  }
}
