/** Statistics of one feature, each with a number for every dimension. */
export interface FeatureStatistics {
  min: number[]
  max: number[]
  mean: number[]
  std: number[]
  count: [number]
  [quantile: `q${string}`]: number[]
}

const QUANTILES = [0.01, 0.1, 0.5, 0.9, 0.99]

/** Of rows of equal length; deviations are those of the whole, not of a sample. */
export function statisticsOf(rows: readonly (readonly number[])[]): FeatureStatistics {
  const dimensions = (rows[0] ?? []).map((_, at) => rows.map(row => row[at]!).sort((a, b) => a - b))
  const mean = dimensions.map(meanOf)
  return {
    min: dimensions.map(values => values[0]!),
    max: dimensions.map(values => values.at(-1)!),
    mean,
    std: dimensions.map((values, at) => Math.sqrt(meanOf(values.map(value => (value - mean[at]!) ** 2)))),
    count: [rows.length],
    ...Object.fromEntries(
      QUANTILES.map(share => [
        `q${String(Math.round(100 * share)).padStart(2, '0')}`,
        dimensions.map(values => quantile(values, share)),
      ]),
    ),
  }
}

const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

/** Between the two values that are nearest, as NumPy does it. */
function quantile(sorted: readonly number[], share: number): number {
  const place = share * (sorted.length - 1)
  const [low, high] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!]
  return low + (high - low) * (place - Math.floor(place))
}

/** Channels of 8-bit RGB pixels in 0…1, put together over pictures. */
export class PictureStatistics {
  readonly #min = [1, 1, 1]
  readonly #max = [0, 0, 0]
  readonly #sum = [0, 0, 0]
  readonly #squares = [0, 0, 0]
  #pixels = 0
  #pictures = 0

  get pictures(): number {
    return this.#pictures
  }

  add(pixels: Uint8Array): void {
    for (let at = 0; at < pixels.length; at += 1) {
      const channel = at % 3
      const value = pixels[at]! / 255
      if (value < this.#min[channel]!) this.#min[channel] = value
      if (value > this.#max[channel]!) this.#max[channel] = value
      this.#sum[channel]! += value
      this.#squares[channel]! += value * value
    }
    this.#pixels += pixels.length / 3
    this.#pictures += 1
  }

  /** Of shape [3, 1, 1], as image features have them. */
  get told() {
    const shaped = (values: readonly number[]) => values.map(value => [[value]])
    const mean = this.#sum.map(sum => sum / this.#pixels)
    return {
      min: shaped(this.#min),
      max: shaped(this.#max),
      mean: shaped(mean),
      std: shaped(
        this.#squares.map((squares, at) => Math.sqrt(Math.max(0, squares / this.#pixels - mean[at]! ** 2))),
      ),
      count: [this.#pictures],
    }
  }
}
