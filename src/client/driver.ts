import { ClientCore, type CoreEffects, type CoreOptions } from './core/core.js'
import { readMessage } from './core/messages.js'
import type { Codec } from './transport/codec.js'
import { type Connection, streamAddress, type Transport } from './transport/transport.js'

/** How a client reaches its server. */
export interface Wire {
  readonly transport: Transport
  readonly codec: Codec
}

export interface DriverOptions extends Omit<CoreOptions, 'hearsPings' | 'random'> {
  /** Sent as `Authorization: Api-Key …`. */
  apiKey?: string | undefined
}

/** Bytes on their way beyond which no further observation is sent: a link that stands still must not fill the memory. */
const MAX_BUFFERED = 8 * 2 ** 20
/** The longest delay that timers take. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** What the core's effects leave to the client. */
export type DriverEvents = Pick<CoreEffects, 'ready' | 'lost' | 'reconnecting' | 'timed'>

/** Gives a ClientCore its socket, its timer and its clock. */
export class Driver {
  readonly core: ClientCore
  #connection: Connection | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  /** What the timer is set for. */
  #wakeAt: number | undefined

  constructor(url: string, { transport, codec }: Wire, options: DriverOptions, events: DriverEvents) {
    const address = streamAddress(url)
    this.core = new ClientCore(
      { ...options, hearsPings: transport.hearsPings, random: Math.random },
      {
        ...events,
        connect: () => {
          this.#connection = this.#open(address, { transport, codec }, options.apiKey)
        },
        drop: (code, reason) => {
          const connection = this.#connection
          this.#connection = undefined
          connection?.close(code, reason)
        },
        send: message => this.#connection?.send(codec.encode(message)),
        hasRoom: () => (this.#connection?.buffered ?? 0) < MAX_BUFFERED,
      },
    )
  }

  /** Tells the core something, then sees to its timer. */
  tell<T>(something: (core: ClientCore, now: number) => T): T {
    const result = something(this.core, performance.now())
    this.#arm()
    return result
  }

  #open(address: string, { transport, codec }: Wire, apiKey: string | undefined): Connection {
    const current = (something: (core: ClientCore, now: number) => void) => {
      if (this.#connection === connection) this.tell(something)
    }
    const connection: Connection = transport.open(
      address,
      { protocol: codec.protocol, apiKey },
      {
        opened: () => current((core, now) => core.opened(now)),
        heard: () => current((core, now) => core.heard(now)),
        closed: (detail, refused) => current((core, now) => core.disconnected(detail, refused, now)),
        frame: frame =>
          current((core, now) => {
            let message: ReturnType<typeof readMessage>
            try {
              message = readMessage(codec.decode(frame))
            } catch (error) {
              return core.unreadable(error instanceof Error ? error.message : String(error), now)
            }
            if (message) core.message(message, now)
            else core.heard(now)
          }),
      },
    )
    return connection
  }

  #arm(): void {
    const { wakeAt } = this.core
    if (wakeAt === this.#wakeAt) return
    clearTimeout(this.#timer)
    this.#wakeAt = wakeAt
    if (wakeAt === Number.POSITIVE_INFINITY) return
    // A timer may fire up to a millisecond early.
    const delay = Math.min(MAX_TIMER_MS, Math.max(0, Math.ceil(wakeAt - performance.now())))
    this.#timer = setTimeout(() => {
      // A process that stood still hears first what has come meanwhile: one more turn of its loop reads it.
      this.#timer = setTimeout(() => this.#tick(), 0)
    }, delay)
  }

  #tick(): void {
    this.#wakeAt = undefined
    this.tell((core, now) => core.tick(now))
  }
}
