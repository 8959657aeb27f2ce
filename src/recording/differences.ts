/** Where two chunks differ first. */
export interface FirstDifference {
  observation: number
  robot: string | null
  row: number
  joint: string
  one: number
  other: number
}

/** Absolute differences of one joint, or of one row of chunks. */
export interface Spread {
  max: number
  mean: number
}

export interface DifferenceReport {
  chunks: number
  /** Chunks without any difference. */
  exact: number
  first: FirstDifference | null
  joints: (Spread & { joint: string })[]
  /** By row of the chunk: control steps after the observation. */
  rows: Spread[]
}

class Sum {
  #max = 0
  #sum = 0
  #count = 0

  add(difference: number): void {
    this.#max = Math.max(this.#max, difference)
    this.#sum += difference
    this.#count += 1
  }

  get spread(): Spread {
    return { max: this.#max, mean: this.#count === 0 ? 0 : this.#sum / this.#count }
  }
}

/** How far chunks [horizon, actionSize] are from each other, by joint and by row. */
export class Differences {
  readonly #names: readonly string[]
  readonly #joints: Sum[]
  readonly #rows: Sum[] = []
  #chunks = 0
  #exact = 0
  #first: FirstDifference | null = null

  constructor(joints: readonly string[]) {
    this.#names = joints
    this.#joints = joints.map(() => new Sum())
  }

  add(
    one: readonly (readonly number[])[],
    other: readonly (readonly number[])[],
    { id, robot }: { id: number; robot: string | null },
  ): void {
    let same = one.length === other.length
    for (let row = 0; row < Math.min(one.length, other.length); row += 1) {
      this.#rows[row] ??= new Sum()
      for (const [joint, name] of this.#names.entries()) {
        const [a, b] = [one[row]![joint]!, other[row]![joint]!]
        this.#joints[joint]!.add(Math.abs(a - b))
        this.#rows[row]!.add(Math.abs(a - b))
        if (a === b) continue
        same = false
        this.#first ??= { observation: id, robot, row, joint: name, one: a, other: b }
      }
    }
    this.#chunks += 1
    if (same) this.#exact += 1
  }

  get report(): DifferenceReport {
    return {
      chunks: this.#chunks,
      exact: this.#exact,
      first: this.#first,
      joints: this.#names.map((joint, at) => ({ joint, ...this.#joints[at]!.spread })),
      rows: this.#rows.map(({ spread }) => spread),
    }
  }
}
