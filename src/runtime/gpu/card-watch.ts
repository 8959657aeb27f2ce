import { type Clock, SYSTEM_CLOCK } from '../../clock.js'
import { reasonOf } from '../../errors.js'
import type { NativeCard } from './addon.js'
import { type CardReading, cardReading } from './card-reading.js'

/** Milliseconds between readings, and for which one counts: a driver that is held up tells nothing new. */
const EVERY_MS = 1000
const FRESH_MS = 10_000

export interface CardWatchOptions {
  /** Reads cards by their ordinals in CUDA; rejects when none can be read. */
  read: (devices: readonly number[]) => Promise<NativeCard[]>
  /** Hears of each reading. */
  onRead?: (cards: readonly CardReading[]) => void
  /** Hears, once, why nothing can be read. */
  onNotice?: (text: string) => void
  clock?: Clock
}

/** Reads some cards once a second, one reading at a time, and keeps the last. Without NVML it says so and stops. */
export class CardWatch {
  readonly #options: CardWatchOptions
  readonly #clock: Clock
  #cards: readonly CardReading[] = []
  #at = Number.NEGATIVE_INFINITY
  #stopped = false
  #callOff = () => {}

  constructor(options: CardWatchOptions) {
    this.#options = options
    this.#clock = options.clock ?? SYSTEM_CLOCK
  }

  /** The last reading; empty when it is older than ten seconds. */
  get cards(): readonly CardReading[] {
    return this.#clock.now() - this.#at < FRESH_MS ? this.#cards : []
  }

  /** To be called once, with the cards that this process computes on. */
  begin(devices: readonly number[]): void {
    if (devices.length > 0) void this.#read(devices)
  }

  stop(): void {
    this.#stopped = true
    this.#callOff()
  }

  async #read(devices: readonly number[]): Promise<void> {
    try {
      const cards = (await this.#options.read(devices)).map(cardReading)
      if (this.#stopped) return
      this.#cards = cards
      this.#at = this.#clock.now()
      this.#options.onRead?.(cards)
    } catch (error) {
      const { hint } = error as { hint?: string }
      this.#options.onNotice?.(
        `What the GPU is at cannot be read, and is not in /metrics: ${reasonOf(error)}${hint ? ` (${hint})` : ''}`,
      )
      return
    }
    this.#callOff = this.#clock.after(EVERY_MS, () => void this.#read(devices))
  }
}
