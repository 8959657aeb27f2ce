import { randomUUID } from 'node:crypto'
import type { WebSocket } from 'ws'
import { CALLER_LEFT, Cancellation } from '../../cancellation.js'
import type { Metrics } from '../../service/metrics.js'

export interface SocketLimits {
  /** Milliseconds between pings; a connection that is silent from one to the next is dropped. */
  heartbeatMs: number
  /** Bytes that may wait to be read by a client; one that reads slower is dropped with 1013. */
  sendBufferBytes: number
}

/** Milliseconds that a peer has to answer a close frame before its connection is destroyed. */
export const CLOSE_TIMEOUT_MS = 1000

/** All WebSocket connections of a server: heartbeat, bounded buffers, and a drain that loses no answer. */
export class Sockets {
  readonly #connections = new Set<Connection>()
  readonly #heartbeat: NodeJS.Timeout

  constructor(readonly limits: SocketLimits) {
    this.#heartbeat = setInterval(() => {
      for (const connection of this.#connections) connection.beat()
    }, limits.heartbeatMs).unref()
  }

  /** `metrics` counts the connection. */
  open(socket: WebSocket, protocol: string, metrics: Metrics): Connection {
    const connection = new Connection(socket, this.limits.sendBufferBytes)
    this.#connections.add(connection)
    metrics.connected(protocol)
    socket.once('close', () => {
      this.#connections.delete(connection)
      metrics.disconnected(protocol)
    })
    return connection
  }

  /** Delivers the answers under way, then closes every connection with 1001. */
  async drain(): Promise<void> {
    clearInterval(this.#heartbeat)
    await Promise.all([...this.#connections].map(connection => connection.drain()))
  }
}

/** One WebSocket connection. */
export class Connection {
  /** Its name in the queue and in the log. */
  readonly session = randomUUID()
  readonly #socket: WebSocket
  readonly #sendBufferBytes: number
  readonly #gone = new Cancellation()
  readonly #closed: Promise<void>
  /** Answers under way, and who waits for the last of them. */
  #work = 0
  #idle: (() => void) | undefined
  #alive = true

  constructor(socket: WebSocket, sendBufferBytes: number) {
    this.#socket = socket
    this.#sendBufferBytes = sendBufferBytes
    this.#closed = new Promise(resolve => {
      socket.once('close', () => {
        this.#gone.abort(CALLER_LEFT)
        resolve()
      })
    })
    const heard = () => {
      this.#alive = true
    }
    socket.on('pong', heard)
    socket.on('message', heard)
  }

  /** Aborted when the connection is gone. */
  get gone(): AbortSignal {
    return this.#gone
  }

  /** Sends a frame: text as text, bytes as binary. A client that does not keep up with reading is dropped. */
  send(frame: string | Uint8Array): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#socket.send(frame, { binary: typeof frame !== 'string' })
    if (this.#socket.bufferedAmount > this.#sendBufferBytes) {
      this.close(1013, 'Answers are not read fast enough.')
    }
  }

  /** Closes; by force after CLOSE_TIMEOUT_MS. */
  close(code: number, reason: string): void {
    this.#socket.close(code, reason)
  }

  /** Counts work that must reach the client before a drain closes the connection. It must not reject. */
  track(work: Promise<void>): void {
    this.#work += 1
    void work.then(() => {
      this.#work -= 1
      if (this.#work === 0) this.#idle?.()
    })
  }

  async drain(): Promise<void> {
    if (this.#work > 0) {
      await new Promise<void>(resolve => {
        this.#idle = resolve
      })
    }
    this.close(1001, 'The server is shutting down.')
    await this.#closed
  }

  beat(): void {
    // What is not read cannot be heard.
    if (this.#socket.isPaused) return
    if (!this.#alive) return this.#socket.terminate()
    this.#alive = false
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping()
  }
}
