import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import { SETTINGS } from '../../src/config.js'
import type { Policy } from '../../src/policy/policy.js'
import type { CardReading } from '../../src/runtime/gpu/card-reading.js'
import { createServer, type ServerConfig } from '../../src/server/standalone.js'
import { CardMetrics } from '../../src/service/card-metrics.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'
import { fakePolicy } from './fake-policy.js'
import { FakeRuntime, type FakeRuntimeOptions, finishAll } from './fake-runtime.js'

export interface TestServer {
  app: FastifyInstance
  runtime: FakeRuntime
  service: PolicyService
  served: Served
  /** For example `http://127.0.0.1:41234`. */
  url: string
  /** Waits until so many requests and observations, of all wires together, have a place in the queue or share one. */
  accepted(count: number): Promise<void>
}

const closers: (() => Promise<void>)[] = []

/** A listening server over a fake policy and a fake runtime. */
export async function startServer(
  options: {
    runtime?: FakeRuntimeOptions
    config?: Partial<ServerConfig & { maxImages: number }>
    policy?: Partial<Policy>
    port?: number
    queueLimit?: number
    /** What its cards are at. */
    cards?: readonly CardReading[]
  } = {},
): Promise<TestServer> {
  const runtime = new FakeRuntime(options.runtime)
  const service = new PolicyService({
    policy: fakePolicy(options.policy),
    runtime: Promise.resolve(runtime),
    ...(options.queueLimit !== undefined && { queue: { maxWaiting: options.queueLimit } }),
  })
  const starting = service.start()
  await finishAll(runtime)
  await starting
  runtime.calls.length = 0
  const { maxImages = SETTINGS.maxImages.default } = options.config ?? {}
  const served = new Served(service, { maxImages })
  const { cards } = options
  const config = {
    apiKey: undefined,
    bodyLimit: SETTINGS.bodyLimit.default,
    heartbeat: SETTINGS.heartbeat.default,
    sendBuffer: SETTINGS.sendBuffer.default,
    clockTolerance: SETTINGS.clockTolerance.default,
    maxRobots: SETTINGS.maxRobots.default,
    robotConnections: SETTINGS.robotConnections.default,
    ...options.config,
  }
  const app = await createServer([served], config, { cards: cards && new CardMetrics(() => cards) })
  const url = await app.listen({ port: options.port ?? 0, host: '127.0.0.1' })
  closers.push(async () => {
    await app.close()
  })
  let requests = 0
  service.events.listen({
    accepted: () => {
      requests += 1
    },
  })
  const accepted = (count: number) => until(() => requests >= count, `${count} requests are accepted`)
  return { app, runtime, service, served, url, accepted }
}

/** Ends every server that a test file started. */
export async function stopServers(): Promise<void> {
  for (const close of closers.splice(0)) await close()
}

/** A WebSocket with an inbox: frames are waited for one by one. */
export class TestSocket {
  readonly socket: WebSocket
  readonly closed: Promise<{ code: number; reason: string }>
  readonly #inbox: { frame: Buffer; isBinary: boolean }[] = []
  #wake: (() => void) | undefined

  constructor(url: string, protocols: string[] = [], options: WebSocket.ClientOptions = {}) {
    this.socket = new WebSocket(url.replace('http', 'ws'), protocols, {
      perMessageDeflate: false,
      ...options,
    })
    this.socket.on('message', (frame, isBinary) => {
      this.#inbox.push({ frame: frame as Buffer, isBinary })
      this.#wake?.()
    })
    this.closed = new Promise(resolve => {
      this.socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString() })
        this.#wake?.()
      })
    })
    // A refused upgrade shows in `opened`, everything later in `closed`.
    this.socket.on('error', () => {})
  }

  /** 101, or the status of a refused upgrade. */
  opened(): Promise<number> {
    return new Promise(resolve => {
      this.socket.once('open', () => resolve(101))
      this.socket.once('unexpected-response', (_request, response) => {
        response.resume()
        resolve(response.statusCode ?? 0)
      })
    })
  }

  send(frame: string | Uint8Array | object): void {
    const raw = typeof frame === 'string' || frame instanceof Uint8Array
    this.socket.send(raw ? frame : JSON.stringify(frame))
  }

  /** The next frame. */
  async frame(): Promise<{ frame: Buffer; isBinary: boolean }> {
    while (this.#inbox.length === 0) {
      if (this.socket.readyState === WebSocket.CLOSED)
        throw new Error('the connection closed without a frame')
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    return this.#inbox.shift()!
  }

  /** The next frame as JSON. */
  async json<T = Record<string, unknown>>(): Promise<T> {
    return JSON.parse((await this.frame()).frame.toString()) as T
  }

  /** Frames that have come and were not waited for. */
  get unread(): number {
    return this.#inbox.length
  }
}

/** Waits until something holds; fails after a minute, so that a busy machine does not. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  for (let waited = 0; !holds(); waited += 5) {
    if (waited > 60_000) throw new Error(`waited in vain until ${what}`)
    await sleep(5)
  }
}
