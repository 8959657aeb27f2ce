import type { Server, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Server as TlsServer } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { TurboPiError } from '../errors.js'
import type { RequestMemory } from './request-memory.js'

/** Milliseconds that the last answers have to be read when the server closes. */
export const LAST_WORDS_MS = 500

/** Who is at the other end of a connection. */
export class Peer {
  /** When it last sent something complete. */
  heardAt = performance.now()
  /** Answers under way to it. */
  work = 0

  constructor(readonly address: string | undefined) {}
}

/** The TCP connections of a server. */
export class Connections {
  readonly #peers = new Map<Socket, Peer>()

  constructor(private readonly server: Server) {
    server.on(this.#established, (socket: Socket) => {
      this.#peers.set(socket, new Peer(socket.remoteAddress))
      socket.once('close', () => this.#peers.delete(socket))
    })
  }

  get #established(): string {
    return this.server instanceof TlsServer ? 'secureConnection' : 'connection'
  }

  /** Requests of this app tell when their peers were last heard. */
  hear(app: FastifyInstance): void {
    app.addHook('onRequest', (request, _reply, done) => {
      const peer = this.#peers.get(request.raw.socket)
      if (peer) peer.heardAt = performance.now()
      done()
    })
  }

  /** Of a connection that is not the server's own, as in an injected request, nothing is known. */
  peer(socket: Socket): Peer {
    return this.#peers.get(socket) ?? new Peer(undefined)
  }

  /** Whether anybody's answer is under way. */
  get busy(): boolean {
    for (const { work } of this.#peers.values()) if (work > 0) return true
    return false
  }

  /**
   * Keeps their number within `limit`: one more takes the place of that one which has been silent for longest, of the address
   * that has most. Those that wait for an answer keep theirs.
   */
  bound(limit: number): void {
    // Also for what never becomes established.
    this.server.maxConnections = 2 * limit
    this.server.on(this.#established, () => {
      if (this.#peers.size > limit) this.#longestSilent().destroy()
    })
  }

  /**
   * Lets the server close. Requests that have not come in whole are refused, connections on which nothing is asked are closed:
   * browsers open some in advance, and to Node.js those are neither idle nor busy.
   */
  endWith(app: FastifyInstance, memory: RequestMemory): void {
    app.addHook('preClose', async () => {
      memory.clear(
        new TurboPiError('SHUTTING_DOWN', 'This server is shutting down; send the request to another one.'),
      )
      // The refusals are written in the meantime.
      await sleep(0)
      for (const [socket, { work }] of this.#peers) if (work === 0) socket.destroySoon()
      const rest = sleep(LAST_WORDS_MS, undefined, { ref: false })
      void rest.then(() => {
        for (const [socket, { work }] of this.#peers) if (work === 0) socket.destroy()
      })
    })
  }

  #longestSilent(): Socket {
    const count = new Map<string | undefined, number>()
    for (const { address } of this.#peers.values()) count.set(address, (count.get(address) ?? 0) + 1)
    const [first, ...others] = [...this.#peers].sort(
      ([, a], [, b]) =>
        Number(a.work > 0) - Number(b.work > 0) ||
        count.get(b.address)! - count.get(a.address)! ||
        a.heardAt - b.heardAt,
    )
    // When everybody is being answered, it is the newcomer's turn to leave.
    return first![1].work > 0 ? others.at(-1)![0] : first![0]
  }
}
