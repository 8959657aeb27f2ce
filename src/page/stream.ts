import type { SeenSession } from '../contract/page.js'
import { openSocket } from './server.js'

export interface Answer {
  /** Action chunk [horizon][action size]. */
  actions: number[][]
  server_timing: SeenSession['server_timing']
  /** From sending the observation to its answer, in milliseconds. */
  roundTripMs: number
}

/** What the server says of an observation that it could not answer. */
export class StreamProblem extends Error {
  constructor(
    readonly title: string,
    readonly code: string,
    detail: string,
  ) {
    super(detail)
  }
}

/** The connection was lost; `infer` can be asked again. */
export class StreamLost extends Error {}

interface Pending {
  seq: number
  sentAt: number
  resolve(answer: Answer): void
  reject(reason: Error): void
}

type ServerMessage =
  | { type: 'ready'; session: string }
  | { type: 'skipped'; seq: number; reason: string }
  | { type: 'error'; seq: number | null; error: { title: string; code: string; detail: string } }
  | ({ type: 'actions'; seq: number } & Omit<Answer, 'roundTripMs'>)

const FIRST_RETRY_MS = 300
const LAST_RETRY_MS = 5000

/** One robot's connection to `WS /stream`: one observation at a time, reconnected until it is closed. */
export class PolicyStream {
  /** The server's name for this connection, once it is ready. */
  session: string | undefined
  /** Whether observations can be sent at this moment. */
  ready = false
  readonly #onState: () => void
  #socket: WebSocket | undefined
  #untilReady: Promise<void>
  #announce!: () => void
  #pending: Pending | undefined
  #seq = 0
  #retryMs = FIRST_RETRY_MS
  #closed = false

  /** `onState` is told when `ready` has changed. */
  constructor(onState: () => void) {
    this.#onState = onState
    this.#untilReady = this.#nextReady()
    this.#connect()
  }

  /** Sends an observation and waits for its actions. Rejects with StreamProblem or StreamLost. */
  async infer(observation: object, options: object): Promise<Answer> {
    await this.#untilReady
    if (this.#pending) throw new Error('an observation is still without an answer')
    return new Promise((resolve, reject) => {
      const seq = this.#seq++
      const now = Date.now()
      this.#pending = { seq, sentAt: performance.now(), resolve, reject }
      this.#socket?.send(
        JSON.stringify({ type: 'observation', seq, observation, captured_at: now, sent_at: now, options }),
      )
    })
  }

  close(): void {
    this.#closed = true
    const socket = this.#socket
    // Browsers complain of a socket that is closed before it has opened.
    if (socket?.readyState === WebSocket.CONNECTING) socket.addEventListener('open', () => socket.close(1000))
    else socket?.close(1000)
  }

  #connect(): void {
    const socket = openSocket('stream', 'turbo-pi.v1+json')
    this.#socket = socket
    socket.addEventListener('message', event => this.#receive(JSON.parse(event.data as string)))
    socket.addEventListener('close', () => {
      // Whoever waits for a connection that never got ready waits for the next one.
      if (this.ready) this.#untilReady = this.#nextReady()
      this.ready = false
      this.#settle()?.reject(new StreamLost('The connection to the server was lost.'))
      if (this.#closed) return
      this.#onState()
      setTimeout(() => {
        if (!this.#closed) this.#connect()
      }, this.#retryMs)
      this.#retryMs = Math.min(LAST_RETRY_MS, this.#retryMs * 2)
    })
  }

  #nextReady(): Promise<void> {
    return new Promise(resolve => {
      this.#announce = resolve
    })
  }

  #receive(message: ServerMessage): void {
    if (message.type === 'ready') {
      this.session = message.session
      this.#retryMs = FIRST_RETRY_MS
      this.ready = true
      this.#announce()
      this.#onState()
      return
    }
    if (message.seq !== null && message.seq !== this.#pending?.seq) return
    const pending = this.#settle()
    if (message.type === 'actions')
      pending?.resolve({ ...message, roundTripMs: performance.now() - pending.sentAt })
    else if (message.type === 'error') {
      const { title, code, detail } = message.error
      pending?.reject(new StreamProblem(title, code, detail))
    } else pending?.reject(new StreamProblem('The observation was skipped', message.reason, message.reason))
  }

  #settle(): Pending | undefined {
    const pending = this.#pending
    this.#pending = undefined
    return pending
  }
}
