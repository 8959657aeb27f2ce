/** One exchange of `time` messages, in milliseconds. */
export interface TimeSample {
  /** What is to be added to this side's clock to have the server's. */
  offsetMs: number
  /** On the way, there and back; the server's own time is not counted. */
  roundTripMs: number
}

/** Exchanges that count: older ones tell of a clock that may have drifted since. */
const KEPT = 8
/** Exchanges that a new connection makes at once. */
const SETTLED = 4

/** The four stamps of NTP (RFC 5905 §8): sent and heard on this side's clock, received and answered on the server's. */
export function timeSample(sent: number, received: number, answered: number, heard: number): TimeSample {
  return {
    offsetMs: (received - sent + (answered - heard)) / 2,
    roundTripMs: Math.max(0, heard - sent - (answered - received)),
  }
}

/** The server's clock as seen from here: of the last exchanges the quickest is right within half its round trip. */
export class ServerClock {
  #samples: TimeSample[] = []

  add(sample: TimeSample): void {
    this.#samples = [...this.#samples.slice(1 - KEPT), sample]
  }

  /** Whether there are enough samples to wait for the next heartbeat. */
  get settled(): boolean {
    return this.#samples.length >= SETTLED
  }

  /** The best sample; undefined before the first. */
  get best(): TimeSample | undefined {
    return this.#samples.reduce<TimeSample | undefined>(
      (best, sample) => (best && best.roundTripMs <= sample.roundTripMs ? best : sample),
      undefined,
    )
  }

  /**
   * The least offset that the best sample allows: with it no observation looks fresher than it is. It is too low by the way
   * back of that sample, which an answer has to take as well.
   */
  get earliestOffsetMs(): number | undefined {
    const { best } = this
    return best && best.offsetMs - best.roundTripMs / 2
  }

  /** For a new connection: another server may answer. */
  forget(): void {
    this.#samples = []
  }
}
