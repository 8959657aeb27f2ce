import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls'
import { reasonOf, TurboPiError } from '../errors.js'
import { Connections, LAST_WORDS_MS } from '../routes/connections.js'
import type { Turns } from '../routes/event-loop-turns.js'
import { openInferenceService } from '../routes/open-inference/grpc.js'
import { GrpcCalls, type GrpcCallsOptions } from '../routes/open-inference/grpc-calls.js'
import { Server, ServerCredentials } from '../routes/open-inference/grpc-js.js'
import type { Models } from '../routes/open-inference/models.js'
import { reloadTls, type TlsFiles, tlsOptions } from './tls.js'

export interface GrpcOptions extends Omit<GrpcCallsOptions, 'connections'> {
  tls: TlsFiles
  turns: Turns
  maxConnections: number
  /** Milliseconds between pings of a connection, and that an answer to one may take. */
  heartbeat: number
}

/** Calls that one connection may have open. */
const CALLS_PER_CONNECTION = 128

/**
 * The Open Inference Protocol over gRPC, on a port of its own. The connections are this server's, so that they are bounded, take
 * new certificates and end as those of HTTP do; gRPC gets them once they are established.
 */
export class GrpcServer {
  readonly #listener: NetServer | TlsServer
  readonly #tls: TlsFiles
  readonly #grpc: Server
  readonly #calls: GrpcCalls
  readonly #sockets = new Set<Socket>()
  readonly #close: () => void
  readonly #failed: (error: unknown) => void

  constructor(models: Models, { tls, turns, maxConnections, heartbeat, ...options }: GrpcOptions) {
    const secure = tlsOptions(tls)
    this.#failed = error => options.log.error({ err: error }, 'A connection for gRPC could not be taken')
    this.#tls = tls
    this.#listener = secure
      ? createTlsServer({ ...secure, noDelay: true, ALPNProtocols: ['h2'] })
      : createServer({ noDelay: true })
    const connections = new Connections(this.#listener)
    connections.bound(maxConnections)
    this.#calls = new GrpcCalls({ ...options, connections })
    this.#grpc = new Server({
      interceptors: [this.#calls.interceptor],
      'grpc.max_receive_message_length': options.bodyLimit,
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': CALLS_PER_CONNECTION,
      'grpc.keepalive_time_ms': heartbeat,
      'grpc.keepalive_timeout_ms': heartbeat,
      'grpc.enable_channelz': 0,
    })
    const service = openInferenceService(models, this.#calls, { turns, connections })
    this.#grpc.addService(service.definition, service.implementation)
    const injector = this.#grpc.createConnectionInjector(ServerCredentials.createInsecure())
    this.#close = () => injector.destroy()
    this.#listener.on(secure ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
      this.#calls.arrivals.connected(socket)
      injector.injectConnection(socket)
    })
  }

  /** Resolves with the port. Throws LISTEN_FAILED. */
  async listen(host: string, port: number): Promise<number> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#listener.once('error', reject).listen({ host, port }, () => {
          // What comes later is of one connection that could not be taken.
          this.#listener.off('error', reject).on('error', this.#failed)
          resolve()
        })
      })
    } catch (error) {
      throw new TurboPiError(
        'LISTEN_FAILED',
        `Cannot listen on ${host}, port ${port}, for gRPC: ${reasonOf(error)}. Choose another with --grpc-port.`,
        { cause: error },
      )
    }
    return (this.#listener.address() as { port: number }).port
  }

  /** Reads certificate and key again. Throws CONFIG_INVALID. */
  reload(): void {
    reloadTls(this.#listener, this.#tls)
  }

  /** Takes no more calls, and ends once those that are open have been answered. */
  async close(): Promise<void> {
    const closed = new Promise<void>(resolve => {
      if (this.#listener.listening) this.#listener.close(() => resolve())
      else resolve()
    })
    this.#close()
    await this.#calls.finished()
    // Who has not read its answer by then will not.
    const rest = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, LAST_WORDS_MS)
    await closed
    clearTimeout(rest)
    this.#grpc.forceShutdown()
  }
}
