import type { Outgoing } from '../core/messages.js'

/** A wire of `WS /stream`. */
export interface Codec {
  /** Its subprotocol. */
  readonly protocol: string
  encode(message: Outgoing): string | Uint8Array
  /** Throws for what cannot be read. */
  decode(frame: string | Uint8Array): unknown
}
