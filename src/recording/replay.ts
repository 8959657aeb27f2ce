import { type DifferenceReport, Differences } from './differences.js'
import type { PolicyNote } from './handover.js'
import type { Player, Replayed } from './player.js'
import { readRecording } from './read.js'
import type { RecordedObservation } from './recorded.js'

/** Observations of the plots. */
const MOST_PLOTTED = 400

export interface ReplayOptions {
  /** Of this robot alone. */
  robot?: string | undefined
  /** At most so many observations. */
  limit: number
  onProgress?: (observations: number) => void
}

/** The first action of chunks over time, as the plots show it: [observation][joint]. */
export interface Curve {
  name: string
  values: (readonly number[])[]
}

export interface ReplayReport {
  files: readonly string[]
  recorded: Pick<PolicyNote, 'policy' | 'model' | 'runtime'> | null
  replayed: { title: string; model: string }
  against: { title: string; model: string } | null
  observations: number
  /** Observations whose arrays were recorded as JPEG. */
  lossy: number
  /** Observations whose chunks came from another model than the recording's first. */
  otherModels: number
  errors: number
  skipped: number
  dropped: number
  /** Files that end without their end. */
  cut: readonly string[]
  /** Chunks that the network computed bit for bit as they were recorded. */
  bitExact: number
  comparisons: Record<string, DifferenceReport>
  curves: Curve[]
}

const sameBits = (a: Float32Array, b: Float32Array) =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))

/** Gives the observations of recordings to a policy once more, and to another one beside it, and compares what they answer. */
export class Replay {
  readonly #player: Player
  readonly #against: Player | undefined
  readonly #options: ReplayOptions
  readonly #recorded: Differences
  readonly #others: { between: Differences; recorded: Differences } | undefined
  readonly #curves: Curve[]
  readonly #models = { lossy: 0, otherModels: 0, bitExact: 0 }
  readonly #missing = { errors: 0, skipped: 0, dropped: 0, cut: [] as string[] }
  #note: PolicyNote | null = null
  #taken = 0
  #count = 0
  /** Of the engine call at hand, those of other robots and past the limit as well: the last bits of one depend on all. */
  #waiting: RecordedObservation[] = []
  readonly #asked = new Set<RecordedObservation>()

  constructor(player: Player, against: Player | undefined, options: ReplayOptions) {
    this.#player = player
    this.#against = against
    this.#options = options
    const { joints } = player
    this.#recorded = new Differences(joints)
    this.#others = against && { between: new Differences(joints), recorded: new Differences(joints) }
    this.#curves = ['recorded', 'replayed', ...(against ? ['against'] : [])].map(name => ({
      name,
      values: [],
    }))
  }

  async run(files: readonly string[]): Promise<ReplayReport> {
    for (const file of files) await this.#file(file)
    await this.#play()
    const { title, model } = this.#player
    return {
      files,
      recorded: this.#note && {
        policy: this.#note.policy,
        model: this.#note.model,
        runtime: this.#note.runtime,
      },
      replayed: { title, model },
      against: this.#against ? { title: this.#against.title, model: this.#against.model } : null,
      observations: this.#count,
      ...this.#models,
      ...this.#missing,
      comparisons: {
        'recorded and replayed': this.#recorded.report,
        ...(this.#others && {
          'replayed and against': this.#others.between.report,
          'recorded and against': this.#others.recorded.report,
        }),
      },
      curves: this.#curves,
    }
  }

  async #file(file: string): Promise<void> {
    const { robot, limit } = this.#options
    for await (const recorded of readRecording(file)) {
      if (recorded.kind === 'policy') this.#note ??= recorded.note
      else if (recorded.kind === 'dropped') this.#missing.dropped += recorded.records
      else if (recorded.kind === 'cut') this.#missing.cut.push(`${file}: ${recorded.reason}`)
      else if (recorded.kind === 'observation') {
        const full = this.#taken >= limit
        if (full && recorded.place.batch !== this.#waiting[0]?.place.batch) break
        const asked = !full && (robot === undefined || recorded.robot === robot)
        this.#taken += Number(asked)
        await this.#take(recorded, asked)
      } else if (robot === undefined || recorded.robot === robot) {
        if (recorded.kind === 'error') this.#missing.errors += 1
        if (recorded.kind === 'skipped') this.#missing.skipped += 1
      }
    }
  }

  async #take(recorded: RecordedObservation, asked: boolean): Promise<void> {
    if (this.#waiting[0]?.place.batch !== recorded.place.batch) await this.#play()
    this.#waiting.push(recorded)
    if (asked) this.#asked.add(recorded)
  }

  async #play(): Promise<void> {
    const observations = this.#waiting
    this.#waiting = []
    const asked = observations.filter(recorded => this.#asked.has(recorded))
    this.#asked.clear()
    if (asked.length === 0) return
    const played = await this.#player.play(observations)
    const others = await this.#against?.play(observations)
    for (const [at, recorded] of observations.entries())
      if (asked.includes(recorded)) this.#compare(recorded, played[at]!, others?.[at])
    this.#count += asked.length
    this.#options.onProgress?.(this.#count)
  }

  #compare(recorded: RecordedObservation, replayed: Replayed, other: Replayed | undefined): void {
    const exact = sameBits(recorded.network, replayed.network)
    if (exact) this.#models.bitExact += 1
    if (recorded.lossy.length > 0) this.#models.lossy += 1
    if (this.#note && recorded.model !== this.#note.model) this.#models.otherModels += 1
    // What a guard clamped is not the network's doing.
    const sent = exact && recorded.guard.clamped ? replayed.actions : recorded.actions
    this.#recorded.add(sent, replayed.actions, recorded)
    if (other) {
      this.#others?.between.add(replayed.actions, other.actions, recorded)
      this.#others?.recorded.add(sent, other.actions, recorded)
    }
    if (this.#curves[0]!.values.length >= MOST_PLOTTED) return
    for (const [at, rows] of [sent, replayed.actions, other?.actions].entries())
      if (rows) this.#curves[at]!.values.push(rows[0]!)
  }
}
