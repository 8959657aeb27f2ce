import type { Socket } from 'node:net'
import type { TurboPiError } from '../../errors.js'
import type { RequestMemory, Share } from '../request-memory.js'

/** Milliseconds between looks at what has come. */
const LOOK_MS = 20

type Refuse = (error: TurboPiError) => void

interface Arriving {
  readonly socket: Socket
  /** Calls whose messages have not come in whole, and what refuses them. */
  readonly calls: Set<Refuse>
  /** Of all bytes of the socket, those that belong to no such call. */
  settled: number
  share: Share | undefined
}

/**
 * The memory of messages that are coming in over gRPC, whose library tells of a message once it is there. So it is what their
 * connections have read meanwhile, looked at from time to time, and never more than such messages may have.
 */
export class Arrivals {
  readonly #connections = new Map<string, Arriving>()
  readonly #memory: RequestMemory
  readonly #limit: number
  #timer: NodeJS.Timeout | undefined

  constructor(memory: RequestMemory, bodyLimit: number) {
    this.#memory = memory
    this.#limit = bodyLimit
  }

  connected(socket: Socket): void {
    const peer = peerOf(socket)
    const connection: Arriving = { socket, calls: new Set(), settled: 0, share: undefined }
    this.#connections.set(peer, connection)
    socket.once('close', () => {
      this.#connections.delete(peer)
      this.#end(connection)
    })
  }

  /** The connection of a call. */
  socketOf(peer: string): Socket | undefined {
    return this.#connections.get(peer)?.socket
  }

  /** A call's message begins to come; `refuse` is called when its memory is needed. Returns what ends that, with the bytes that came. */
  begin(peer: string, refuse: Refuse): (bytes?: number) => void {
    const connection = this.#connections.get(peer)
    if (!connection) return () => {}
    const { calls, socket } = connection
    if (calls.size === 0) {
      connection.settled = socket.bytesRead
      connection.share = this.#memory.share(error => {
        const refused = [...calls]
        this.#end(connection)
        for (const one of refused) one(error)
      })
    }
    calls.add(refuse)
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref()
    return (bytes = 0) => {
      connection.settled += bytes
      if (calls.delete(refuse) && calls.size === 0) this.#end(connection)
    }
  }

  #look(): void {
    let arriving = false
    for (const { socket, calls, settled, share } of this.#connections.values()) {
      if (calls.size === 0) continue
      arriving = true
      share?.set(Math.max(0, Math.min(socket.bytesRead - settled, calls.size * this.#limit)))
    }
    if (arriving) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #end(connection: Arriving): void {
    connection.calls.clear()
    connection.share?.end()
    connection.share = undefined
  }
}

/** As gRPC names the other end of a call. */
const peerOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress}:${remotePort}`
