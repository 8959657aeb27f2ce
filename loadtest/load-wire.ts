import type { Outgoing } from '../src/client/core/messages.js'
import type { Wire } from '../src/client/driver.js'
import type { Codec } from '../src/client/transport/codec.js'
import { msgpackCodec } from '../src/client/transport/msgpack.js'
import type { Transport } from '../src/client/transport/transport.js'
import { FrameTemplate, frameOf, LoadSocket } from './load-socket.js'
import type { RobotFrames } from './observations.js'

/**
 * A wire of the client whose observations are frames made in advance: only their numbers are written anew. It is asked
 * to encode a message and then to send it, so it keeps the parts of the one at hand.
 */
export class LoadWire implements Wire {
  readonly #template: FrameTemplate
  #parts: Buffer[] = []

  readonly codec: Codec = {
    ...msgpackCodec,
    encode: message => {
      this.#parts = message.type === 'observation' ? this.#observation(message) : [frameOf(encoded(message))]
      return ''
    },
  }

  readonly transport: Transport = {
    hearsPings: true,
    open: (url, { protocol, apiKey }, events) => {
      const { origin, pathname } = new URL(url)
      const client = new LoadSocket({ url: origin, apiKey }, pathname, [protocol])
      const { socket } = client
      socket.on('open', () => events.opened())
      socket.on('ping', () => events.heard())
      socket.on('message', frame => events.frame(frame as Buffer))
      socket.on('error', () => {})
      socket.on('close', code => events.closed(`closed with ${code}`, false))
      return {
        get buffered() {
          return socket.bufferedAmount
        },
        send: () => client.write(...this.#parts),
        close: () => socket.terminate(),
      }
    },
  }

  /** `deadlineMs` of every observation; undefined: none. */
  constructor(robot: RobotFrames, deadlineMs: number | undefined) {
    this.#template = new FrameTemplate(3, ([seq, capturedAt, moving]) => ({
      type: 'observation',
      seq: seq!,
      captured_at: capturedAt!,
      ...(deadlineMs !== undefined && { deadline_ms: deadlineMs }),
      observation: robot.observation(moving!),
    }))
  }

  #observation({ seq, captured_at, sent_at }: Extract<Outgoing, { type: 'observation' }>): Buffer[] {
    if (captured_at === undefined || sent_at !== undefined)
      throw new Error('the server does not tell its time: load needs a server of this version')
    return this.#template.frame([seq, captured_at, seq / 1000])
  }
}

const encoded = (message: Outgoing) => msgpackCodec.encode(message) as Uint8Array
