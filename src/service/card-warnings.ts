import { type Clock, SYSTEM_CLOCK } from '../clock.js'
import type { CardReading, SlowedBy } from '../runtime/gpu/card-reading.js'

/** Milliseconds between lines about the same of a card, however often it changes. */
const QUIET_MS = 60_000

/** What a card that is hot, or short of power, does against its will. One at its power limit does what it was built for. */
const WORTH_SAYING: Readonly<Partial<Record<SlowedBy, string>>> = {
  hw_slowdown: 'its hardware asks for it',
  sw_thermal_slowdown: 'it is too hot',
  hw_thermal_slowdown: 'it is far too hot',
  hw_power_brake_slowdown: 'its power supply asks for it',
}

interface Said {
  text: string
  at: number
}

/** Lines of the log about cards that run slower than they could, or compute for others, too: each again only when it changes. */
export class CardWarnings {
  readonly #warn: (line: string) => void
  readonly #clock: Clock
  readonly #said = new Map<string, Said>()

  constructor(warn: (line: string) => void, clock: Clock = SYSTEM_CLOCK) {
    this.#warn = warn
    this.#clock = clock
  }

  hear(cards: readonly CardReading[]): void {
    for (const card of cards) {
      const { device, reason, slowedBy, celsius, otherProcesses } = card
      const name = `GPU ${device}`
      this.#say(
        `${device} lost`,
        reason && `${name} does not tell what it is at: ${reason}`,
        `${name} tells again what it is at`,
      )
      if (slowedBy) {
        const why = slowedBy.filter(by => WORTH_SAYING[by] !== undefined)
        const heat = celsius === undefined ? '' : `, at ${celsius} °C`
        this.#say(
          `${device} slowed`,
          why.length > 0 &&
            `${name} has lowered its clocks: ${why.map(by => `${WORTH_SAYING[by]} (${by})`).join(', ')}`,
          `${name} is no longer held to lower clocks`,
          heat,
        )
      }
      if (otherProcesses !== undefined)
        this.#say(
          `${device} shared`,
          otherProcesses > 0 &&
            `${name} computes for ${otherProcesses === 1 ? 'another process' : `${otherProcesses} other processes`}, too: answers take longer than they could`,
          `${name} computes for this process alone again`,
        )
    }
  }

  /** `text` tells what is; empty: nothing, which is said as `over` where something was said before. `more` is no change. */
  #say(about: string, text: string | false | undefined, over: string, more = ''): void {
    const said = this.#said.get(about)
    const now = this.#clock.now()
    if ((said?.text ?? '') === (text || '') || (said && now - said.at < QUIET_MS)) return
    this.#said.set(about, { text: text || '', at: now })
    this.#warn(text ? `${text}${more}` : over)
  }
}
