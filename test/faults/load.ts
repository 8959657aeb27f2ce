import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { encodeMsgpack } from '../../src/contract/msgpack.js'
import { jsonObservation, msgpackObservation } from './observation.js'

/** What became of the requests of one load. */
export interface Tally {
  /** Sent over a connection that stood. */
  accepted: number
  /** Got actions. */
  answered: number
  /** Got `skipped`: a newer observation took its place. */
  skipped: number
  /** Got an error. */
  refused: number
  /** Got nothing. */
  lost: number
}

const ENDS: Record<string, 'answered' | 'skipped'> = { actions: 'answered', skipped: 'skipped' }

/** Milliseconds between two observations of a robot. */
const PERIOD_MS = 200
/** Milliseconds that the last answers may take. */
const PATIENCE_MS = 30_000

/** Robots on WS /stream, a client of openpi and one that posts: what goes on while faults happen. */
export class Load {
  readonly tally: Tally = { accepted: 0, answered: 0, skipped: 0, refused: 0, lost: 0 }
  /** When the last actions came, in performance.now() milliseconds. */
  answeredAt = 0
  readonly #url: () => string
  readonly #headers: Record<string, string>
  #running = true
  #seed = 0
  /** Requests without an answer so far. */
  #open = 0
  readonly #clients: Promise<void>[]
  readonly #sockets = new Set<WebSocket>()
  readonly #posts = new AbortController()

  constructor(
    url: string | (() => string),
    { robots = 3, apiKey }: { robots?: number; apiKey?: string } = {},
  ) {
    this.#url = typeof url === 'string' ? () => url : url
    this.#headers = apiKey === undefined ? {} : { authorization: `Api-Key ${apiKey}` }
    this.#clients = [...Array.from({ length: robots }, () => this.#stream()), this.#openpi(), this.#post()]
  }

  /** Sends nothing more, waits for what is owed, and hangs up. */
  async end(): Promise<Tally> {
    this.#running = false
    for (const until = Date.now() + PATIENCE_MS; this.#open > 0 && Date.now() < until; ) await sleep(20)
    // What is still owed is lost.
    for (const socket of this.#sockets) socket.terminate()
    this.#posts.abort()
    await Promise.all(this.#clients)
    return this.tally
  }

  /** Sends nothing more; answers still count. */
  pause(): void {
    this.#running = false
  }

  /** Milliseconds from `since` to the next actions that anybody gets. */
  async recovery(since = performance.now()): Promise<number> {
    for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(5))
      if (this.answeredAt > since) return this.answeredAt - since
    return Number.NaN
  }

  #sent(): void {
    this.tally.accepted += 1
    this.#open += 1
  }

  #got(what: Exclude<keyof Tally, 'accepted'>): void {
    this.tally[what] += 1
    this.#open -= 1
    if (what === 'answered') this.answeredAt = performance.now()
  }

  /** Undefined when the server takes no connection. */
  #connect(path: string, protocols: string[]): Promise<WebSocket | undefined> {
    return new Promise(resolve => {
      const socket = new WebSocket(`${this.#url().replace('http', 'ws')}${path}`, protocols, {
        headers: this.#headers,
        perMessageDeflate: false,
      })
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
      socket.once('open', () => resolve(socket))
      socket.on('error', () => resolve(undefined))
    })
  }

  /** Connects again and again until the load ends. */
  async #again(path: string, protocols: string[], use: (socket: WebSocket) => Promise<void>): Promise<void> {
    while (this.#running) {
      const socket = await this.#connect(path, protocols)
      if (socket) await use(socket)
      else await sleep(100)
    }
  }

  #stream(): Promise<void> {
    return this.#again('/stream', ['turbo-pi.v1+json'], async socket => {
      const waiting = new Set<number>()
      let ready = false
      socket.on('message', data => {
        const { type, seq } = JSON.parse(String(data)) as { type: string; seq?: number | null }
        if (type === 'ready') ready = true
        if (typeof seq === 'number' && waiting.delete(seq)) this.#got(ENDS[type] ?? 'refused')
      })
      const closed = new Promise(resolve => socket.once('close', resolve))
      for (let seq = 0; socket.readyState === socket.OPEN; await Promise.race([sleep(PERIOD_MS), closed])) {
        if (!ready || !this.#running) continue
        this.#sent()
        waiting.add(seq)
        const options = { seed: this.#seed++, num_steps: 1 }
        socket.send(
          JSON.stringify({ type: 'observation', seq: seq++, observation: jsonObservation, options }),
        )
      }
      for (const _ of waiting) this.#got('lost')
    })
  }

  #openpi(): Promise<void> {
    return this.#again('/', [], async socket => {
      let waiting = false
      let ready = false
      const got = (what: 'answered' | 'refused' | 'lost') => {
        if (waiting) this.#got(what)
        waiting = false
      }
      socket.on('message', (_, isBinary) => {
        if (!ready) ready = isBinary
        else got(isBinary ? 'answered' : 'refused')
      })
      const closed = new Promise(resolve => socket.once('close', resolve))
      for (; socket.readyState === socket.OPEN; await Promise.race([sleep(PERIOD_MS), closed])) {
        if (!ready || waiting || !this.#running) continue
        waiting = true
        this.#sent()
        socket.send(encodeMsgpack({ ...msgpackObservation, prompt: `pick up the block ${this.#seed++}` }))
      }
      got('lost')
    })
  }

  async #post(): Promise<void> {
    for (; this.#running; await sleep(PERIOD_MS)) {
      const body = JSON.stringify({ ...jsonObservation, options: { seed: this.#seed++, num_steps: 1 } })
      this.#sent()
      try {
        const headers = { ...this.#headers, 'content-type': 'application/json' }
        const response = await fetch(`${this.#url()}/infer`, {
          method: 'POST',
          headers,
          body,
          signal: this.#posts.signal,
        })
        await response.arrayBuffer()
        this.#got(response.ok ? 'answered' : 'refused')
      } catch (error) {
        const { code } = ((error as Error).cause ?? {}) as { code?: string }
        if (code !== 'ECONNREFUSED') this.#got('lost')
        else {
          // Nobody took it.
          this.tally.accepted -= 1
          this.#open -= 1
        }
      }
    }
  }
}
