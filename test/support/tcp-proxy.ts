import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** What the network does. */
export type Weather =
  | { kind: 'forward' }
  /** Takes everything and passes nothing on; no side hears of it. */
  | { kind: 'swallow' }
  /** Passes everything on so much later. */
  | { kind: 'delay'; ms: number }
  /** Ends every connection at once, and every new one. */
  | { kind: 'drop' }
  /** Passes on a few bytes of what comes next, then ends the connection. */
  | { kind: 'cut'; bytes: number }

/** A network of one TCP server that does what a test says. */
export class TcpProxy {
  weather: Weather = { kind: 'forward' }
  readonly #sockets = new Set<Socket>()

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  /** A proxy in front of a port of this machine. */
  static async before(port: number): Promise<TcpProxy> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new TcpProxy(server, (server.address() as AddressInfo).port)
    server.on('connection', client => proxy.#join(client, connect(port, '127.0.0.1')))
    return proxy
  }

  /** Changes the weather, for connections that are open, too. */
  become(weather: Weather): void {
    this.weather = weather
    if (weather.kind === 'drop') for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.server.close()
    await once(this.server, 'close')
  }

  #join(client: Socket, upstream: Socket): void {
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(from)
      from.on('data', bytes => this.#pass(bytes, to, end))
      from.on('error', end)
      from.on('close', () => {
        this.#sockets.delete(from)
        // A network that swallows all does not tell of an end either.
        if (this.weather.kind !== 'swallow') end()
      })
    }
    if (this.weather.kind === 'drop') end()
  }

  #pass(bytes: Buffer, to: Socket, end: () => void): void {
    const { weather } = this
    if (weather.kind === 'forward') to.write(bytes)
    else if (weather.kind === 'delay') setTimeout(() => to.destroyed || to.write(bytes), weather.ms)
    else if (weather.kind === 'cut') {
      to.write(bytes.subarray(0, weather.bytes))
      setImmediate(end)
    }
  }
}
