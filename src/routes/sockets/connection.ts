import { randomUUID } from 'node:crypto'
import type { WebSocket } from 'ws'
import { CALLER_LEFT, Cancellation } from '../../cancellation.js'
import type { Served } from '../../service/served.js'
import { type Robot, type RobotLimits, Robots } from '../robots.js'

export interface SocketLimits {
  /** Milliseconds between pings; a connection that is silent from one to the next is dropped. */
  heartbeatMs: number
  /** Bytes that may wait to be read by a client; one that reads slower is dropped with 1013. */
  sendBufferBytes: number
  /** Milliseconds that a stamp of an observation may lie in the future. */
  clockToleranceMs: number
}

/** Milliseconds that a peer has to answer a close frame before its connection is destroyed. */
export const CLOSE_TIMEOUT_MS = 1000

/** All WebSocket connections of a server: heartbeat, bounded buffers, and a drain that loses no answer. */
export class Sockets {
  readonly robots: Robots
  readonly #connections = new Set<Connection>()
  readonly #heartbeat: NodeJS.Timeout

  constructor(readonly limits: SocketLimits & RobotLimits) {
    this.robots = new Robots(limits)
    this.#heartbeat = setInterval(() => {
      for (const connection of this.#connections) connection.beat()
    }, limits.heartbeatMs).unref()
  }

  /** `served` counts the connection. */
  open(socket: WebSocket, protocol: string, served: Served, robot: Robot | undefined): Connection {
    const { metrics } = served
    const connection = new Connection(socket, this.limits.sendBufferBytes, this.robots, served.name)
    if (robot) connection.belongTo(robot)
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
  /** Names it in the log, and whose it is in the queue when no robot has named itself. */
  readonly session = randomUUID()
  readonly #socket: WebSocket
  readonly #sendBufferBytes: number
  readonly #gone = new Cancellation()
  readonly #closed: Promise<void>
  /** Answers under way, and who waits for the last of them. */
  #work = 0
  #idle: (() => void) | undefined
  #alive = true
  readonly #robots: Robots
  /** The name under which is served what it is for. */
  readonly #policy: string
  #robot: Robot | undefined
  #leave: (() => void) | undefined
  /** Called with every ping. */
  onBeat: (() => void) | undefined

  constructor(socket: WebSocket, sendBufferBytes: number, robots: Robots, policy: string) {
    this.#socket = socket
    this.#policy = policy
    this.#robots = robots
    this.#sendBufferBytes = sendBufferBytes
    this.#closed = new Promise(resolve => {
      socket.once('close', () => {
        this.#gone.abort(CALLER_LEFT)
        this.#leave?.()
        resolve()
      })
    })
    const heard = () => {
      this.#alive = true
    }
    socket.on('pong', heard)
    socket.on('message', heard)
  }

  /** The robot that has named itself. */
  get robot(): Robot | undefined {
    return this.#robot
  }

  /** Whose work it is, to the queue, the log and the page: the robot's where it has a name, else the connection's. */
  get caller(): string {
    return this.#robot?.name ?? this.session
  }

  /** Throws TOO_MANY_CONNECTIONS. */
  belongTo(robot: Robot): void {
    if (this.#robot?.name === robot.name) return
    const left = this.#robots.connected(robot, this.#policy)
    this.#leave?.()
    this.#leave = left
    this.#robot = robot
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
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#socket.ping()
    this.onBeat?.()
  }
}
