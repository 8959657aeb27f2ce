import { Counter, Gauge, Registry } from 'prom-client'
import { type CardReading, SLOWED_BY_ALL } from '../runtime/gpu/card-reading.js'

/** What the cards of this process are at, by the ordinal that CUDA gives them. What a card does not tell has no sample. */
export class CardMetrics {
  readonly registry = new Registry()
  readonly #cards: () => readonly CardReading[]

  /** `cards` gives the last reading. */
  constructor(cards: () => readonly CardReading[]) {
    this.#cards = cards
    this.#labelled(
      'info',
      'The cards that compute; always 1.',
      ['name', 'uuid'],
      ({ name = '', uuid = '' }) => [[{ name, uuid }, 1]],
    )
    this.#gauge(
      'utilisation_ratio',
      'Share of the last moment in which kernels ran.',
      card => card.utilisation,
    )
    this.#gauge(
      'memory_utilisation_ratio',
      'Share of the last moment in which the memory was read or written.',
      card => card.memoryUtilisation,
    )
    this.#gauge('memory_bytes', 'Memory of the card.', card => card.memoryTotal)
    this.#gauge('memory_used_bytes', 'Memory in use, by whomever.', card => card.memoryUsed)
    this.#gauge('temperature_celsius', 'Temperature of the die.', card => card.celsius)
    this.#gauge('power_watts', 'Power that the card draws.', card => card.watts)
    this.#gauge('other_processes', 'Other processes that compute on the card.', card => card.otherProcesses)
    this.#labelled(
      'throttled',
      'Whether the clocks are lower than they could be, by the reason.',
      ['reason'],
      ({ slowedBy }) =>
        slowedBy && SLOWED_BY_ALL.map(reason => [{ reason }, slowedBy.includes(reason) ? 1 : 0]),
    )
    this.#errors()
  }

  #gauge(name: string, help: string, of: (card: CardReading) => number | undefined): void {
    this.#labelled(name, help, [], card => {
      const value = of(card)
      return value === undefined ? undefined : [[{}, value]]
    })
  }

  #labelled(
    name: string,
    help: string,
    labels: string[],
    samples: (card: CardReading) => [Record<string, string>, number][] | undefined,
  ): void {
    const cards = this.#cards
    new Gauge({
      name: `turbo_pi_gpu_${name}`,
      help,
      labelNames: ['device', ...labels],
      registers: [this.registry],
      collect() {
        this.reset()
        for (const card of cards())
          for (const [more, value] of (!card.reason && samples(card)) || [])
            this.set({ device: card.device, ...more }, value)
      },
    })
  }

  #errors(): void {
    const cards = this.#cards
    new Counter({
      name: 'turbo_pi_gpu_ecc_errors_total',
      help: 'Errors of the memory that the card has noticed since its driver was loaded.',
      labelNames: ['device', 'kind'],
      registers: [this.registry],
      collect() {
        this.reset()
        for (const { device, eccCorrected, eccUncorrected } of cards())
          for (const [kind, count] of [
            ['corrected', eccCorrected],
            ['uncorrected', eccUncorrected],
          ] as const)
            if (count !== undefined) this.inc({ device, kind }, count)
      },
    })
  }
}
