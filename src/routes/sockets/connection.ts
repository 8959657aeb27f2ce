import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { CALLER_LEFT, Cancellation } from '../../cancellation.js'
import type { RequestTrace } from '../../service/request-trace.js'
import type { Served } from '../../service/served.js'
import type { Key } from '../access/key.js'
import type { Connections, Peer } from '../connections.js'
import { LogLimit } from '../log-limit.js'
import type { RequestMemory, Share } from '../request-memory.js'
import { traceOf } from '../request-names.js'
import { type Robot, type RobotLimits, Robots } from '../robots.js'

export interface SocketLimits {
  /** Milliseconds between pings; a connection that is silent from one to the next is dropped. */
  heartbeatMs: number
  /** Bytes that may wait to be read by a client; one that reads slower is dropped with 1013. */
  sendBufferBytes: number
  /** Milliseconds that a stamp of an observation may lie in the future. */
  clockToleranceMs: number
}

/** What the connections share with each other, and with requests. */
export interface SocketBounds {
  connections: Connections
  /** Of frames, from their first byte until they have been taken. */
  memory: RequestMemory
  /** Of fields that observations carry over. */
  carried: RequestMemory
}

/** Milliseconds that a peer has to answer a close frame before its connection is destroyed. */
export const CLOSE_TIMEOUT_MS = 1000

/** All WebSocket connections of a server: heartbeat, bounded buffers, and a drain that loses no answer. */
export class Sockets {
  readonly robots: Robots
  readonly #connections = new Set<Connection>()
  readonly #log = new LogLimit()
  readonly #heartbeat: NodeJS.Timeout

  constructor(
    readonly limits: SocketLimits & RobotLimits,
    readonly bounds: SocketBounds,
  ) {
    this.robots = new Robots(limits)
    let beatAt = performance.now()
    this.#heartbeat = setInterval(() => {
      const now = performance.now()
      // The process stood still: what its clients have answered meanwhile is still to be read.
      const late = now - beatAt > 1.5 * limits.heartbeatMs
      beatAt = now
      for (const connection of this.#connections) connection.beat(late)
    }, limits.heartbeatMs).unref()
  }

  /** `served` counts the connection of `request`. */
  open(socket: WebSocket, protocol: string, served: Served, request: FastifyRequest): Connection {
    const { metrics } = served
    const { raw, robot, key } = request
    const connection = new Connection(socket, raw.socket, this, served.name, key)
    connection.trace = { traceparent: traceOf(request), connection: true }
    if (robot) connection.belongTo(robot)
    this.#connections.add(connection)
    metrics.connected(protocol)
    socket.once('close', (code, reason) => {
      this.#connections.delete(connection)
      metrics.disconnected(protocol, code)
      this.#tell(request, connection, { code, reason: reason.toString() }, 'closed')
    })
    this.#tell(request, connection, { protocol, ip: request.ip }, 'connected')
    return connection
  }

  #tell({ log, key }: FastifyRequest, { session, robot }: Connection, what: object, event: string): void {
    this.#log.pass(withheld =>
      log.info({ session, robot: robot?.name, key: key?.name, ...what, ...withheld }, event),
    )
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
  readonly #peer: Peer
  readonly #frames: Share
  /** Bytes of the frame that is coming, and of those that wait for their turn. */
  #arriving = 0
  #waiting = 0
  #robot: Robot | undefined
  #leave: (() => void) | undefined
  /** Of its upgrade. */
  trace: Pick<RequestTrace, 'traceparent' | 'connection'> = {}
  /** Called with every ping. */
  onBeat: (() => void) | undefined

  constructor(
    socket: WebSocket,
    wire: Socket,
    { limits, bounds, robots }: Sockets,
    policy: string,
    /** The caller's, where the server asks for keys. */
    readonly key: Key | undefined,
  ) {
    this.#socket = socket
    this.#policy = policy
    this.#robots = robots
    this.#sendBufferBytes = limits.sendBufferBytes
    this.#peer = bounds.connections.peer(wire)
    this.#frames = bounds.memory.share(() => {
      this.close(1013, 'The server needs the memory of these frames.')
      socket.pause()
    })
    const revoked = () => this.close(1008, 'The key is no longer valid.')
    key?.holders.add(revoked)
    this.#closed = new Promise(resolve => {
      socket.once('close', () => {
        this.#gone.abort(CALLER_LEFT)
        key?.holders.delete(revoked)
        this.#leave?.()
        this.#frames.end()
        resolve()
      })
    })
    socket.on('pong', () => {
      this.#alive = true
    })
    // Before the WebSocket takes them in: it tells of a frame when it has come in whole.
    wire.prependListener('data', ({ length }: Buffer) => this.#holds(this.#arriving + length, this.#waiting))
    socket.on('message', ({ length }: Buffer) => {
      this.#alive = true
      this.#peer.heardAt = performance.now()
      this.#holds(0, this.#waiting + length)
    })
  }

  /** A frame has been taken, and is held no longer. */
  taken({ length }: Buffer): void {
    this.#holds(this.#arriving, this.#waiting - length)
  }

  #holds(arriving: number, waiting: number): void {
    this.#arriving = arriving
    this.#waiting = waiting
    this.#frames.set(arriving + waiting)
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
    this.#peer.work += 1
    void work.then(() => {
      this.#work -= 1
      this.#peer.work -= 1
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

  /** `late`: nobody was heard for longer than a beat. */
  beat(late: boolean): void {
    // What is not read cannot be heard.
    if (this.#socket.isPaused) return
    if (late || this.#alive) return this.#ask()
    // Timers come before what has arrived meanwhile: one more turn of the event loop hears it.
    setTimeout(() => (this.#alive ? this.#ask() : this.#socket.terminate()), 0).unref()
  }

  #ask(): void {
    this.#alive = false
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#socket.ping()
    this.onBeat?.()
  }
}
