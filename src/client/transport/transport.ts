/** What becomes of a connection. `closed` is the last word. */
export interface ConnectionEvents {
  opened(): void
  /** Text or bytes. */
  frame(frame: string | Uint8Array): void
  /** Something below frames, such as a ping. */
  heard(): void
  /** `refused`: the server does not want this client, now or later. */
  closed(detail: string, refused: boolean): void
}

export interface Connection {
  /** Bytes that were sent and have not left yet. */
  readonly buffered: number
  send(frame: string | Uint8Array): void
  /** Says goodbye, and waits for no answer. */
  close(code: number, reason: string): void
}

/** Opens WebSocket connections. */
export interface Transport {
  /** Whether the server's pings are heard. */
  readonly hearsPings: boolean
  open(
    url: string,
    options: { protocol: string; apiKey: string | undefined },
    events: ConnectionEvents,
  ): Connection
}

/**
 * The address of `WS /stream` of a server: with or without scheme and path, by its HTTP name or its own. Throws a
 * TypeError for what is no such address.
 */
export function streamAddress(url: string): string {
  const address = new URL(/^[a-z]+:\/\//i.test(url) ? url : `ws://${url}`)
  address.protocol = address.protocol.replace('http', 'ws')
  if (!/^wss?:$/.test(address.protocol))
    throw new TypeError(`A server's address starts with ws, wss, http or https, got ${url}.`)
  const path = address.pathname.replace(/\/+$/, '')
  address.pathname = path.endsWith('/stream') ? path : `${path}/stream`
  return address.href
}
