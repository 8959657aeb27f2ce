import type { Static } from 'typebox'
import type { HelloMessage, ServerMessage, TimeRequest } from '../../contract/stream-messages.js'
import { TurboPiError } from '../../errors.js'
import type { Robots } from '../robots.js'
import type { Connection } from './connection.js'

/** What a connection has agreed on beyond the first messages of version 1. Without a hello that is nothing. */
export class Greeting {
  readonly #connection: Connection
  readonly #robots: Robots
  readonly #send: (message: ServerMessage) => void
  #generation: number | undefined
  /** A hello could not be granted: the connection is to end. */
  refused = false

  constructor(connection: Connection, robots: Robots, send: (message: ServerMessage) => void) {
    this.#connection = connection
    this.#robots = robots
    this.#send = send
  }

  /** What answers carry: the generation, for clients that said hello. */
  get stamp(): { generation?: number } {
    return this.#generation === undefined ? {} : { generation: this.#generation }
  }

  /** Throws MODEL_MISMATCH and the errors of a robot's name, and sets `refused` with them. */
  hello(
    { robot, expected_model: expected, generation = 0, sent_at }: Static<typeof HelloMessage>,
    receivedAt: number,
    model: string | undefined,
  ): void {
    if (this.#generation !== undefined)
      throw new TurboPiError('BODY_MALFORMED', 'hello is said once in a connection.')
    this.refused = true
    if (expected !== undefined && expected !== model)
      throw new TurboPiError('MODEL_MISMATCH', `This server serves the model ${model}, expected ${expected}.`)
    if (robot !== undefined) this.#connection.belongTo(this.#robots.named(robot))
    this.refused = false
    this.#generation = generation
    this.#connection.onBeat = () => this.#send({ type: 'heartbeat', server_time: Date.now() })
    this.#send({
      type: 'welcome',
      robot: this.#connection.robot?.name ?? null,
      generation,
      ...stamps(sent_at, receivedAt),
    })
  }

  time({ sent_at }: Static<typeof TimeRequest>, receivedAt: number): void {
    this.#send({ type: 'time', ...stamps(sent_at, receivedAt) })
  }

  /** Starts the next generation. */
  next(): void {
    if (this.#generation !== undefined) this.#generation += 1
  }
}

const stamps = (sentAt: number | undefined, receivedAt: number) => ({
  ...(sentAt !== undefined && { sent_at: sentAt }),
  received_at: receivedAt,
  server_time: Date.now(),
})
