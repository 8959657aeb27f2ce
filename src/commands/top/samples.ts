/** The samples of one metric, by their labels. */
type Samples = { labels: Readonly<Record<string, string>>; value: number }[]

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g
const ESCAPED: Readonly<Record<string, string>> = { n: '\n' }

/** What GET /metrics said at one moment (Prometheus' text format), and what is read off it. */
export class Scrape {
  readonly #metrics = new Map<string, Samples>()

  /** `at`: performance.now() milliseconds. */
  constructor(
    text: string,
    readonly at: number,
  ) {
    for (const line of text.split('\n')) {
      const [, name, inside = '', value] = SAMPLE.exec(line) ?? []
      if (!name || line.startsWith('#')) continue
      const labels: Record<string, string> = {}
      for (const [, label, text] of inside.matchAll(LABEL))
        labels[label!] = text!.replace(/\\(.)/g, (_, letter) => ESCAPED[letter] ?? letter)
      const samples = this.#metrics.get(name) ?? []
      samples.push({ labels, value: Number(value) })
      this.#metrics.set(name, samples)
    }
  }

  /** The sum of all samples whose labels have these values; 0 of none. */
  sum(name: string, where: Readonly<Record<string, string>> = {}): number {
    return this.#of(name, where).reduce((sum, { value }) => sum + value, 0)
  }

  /** The value of the one sample whose labels have these values; undefined when there is none. */
  only(name: string, where: Readonly<Record<string, string>>): number | undefined {
    return this.#of(name, where)[0]?.value
  }

  /** The values that a label has. */
  values(name: string, label: string): string[] {
    return [...new Set(this.#of(name, {}).map(({ labels }) => labels[label] ?? ''))]
  }

  /** Seconds in which `share` 0…1 of what a histogram has counted since `before` lies; undefined when that is nothing. */
  quantile(
    name: string,
    share: number,
    before: Scrape | undefined,
    where: Readonly<Record<string, string>> = {},
  ): number | undefined {
    const counts = new Map<number, number>()
    for (const [scrape, sign] of [[this, 1] as const, [before, -1] as const])
      for (const { labels, value } of scrape ? scrape.#of(`${name}_bucket`, where) : []) {
        const bound = labels['le'] === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels['le'])
        counts.set(bound, (counts.get(bound) ?? 0) + sign * value)
      }
    const buckets = [...counts].sort(([a], [b]) => a - b)
    const wanted = share * (buckets.at(-1)?.[1] ?? 0)
    if (wanted <= 0) return undefined
    let [from, below] = [0, 0]
    for (const [bound, count] of buckets) {
      if (count >= wanted) {
        if (bound === Number.POSITIVE_INFINITY) return from
        return from + ((bound - from) * (wanted - below)) / Math.max(1e-9, count - below)
      }
      ;[from, below] = [bound, count]
    }
    return from
  }

  #of(name: string, where: Readonly<Record<string, string>>): Samples {
    const samples = this.#metrics.get(name) ?? []
    return samples.filter(({ labels }) =>
      Object.entries(where).every(([label, value]) => labels[label] === value),
    )
  }
}
