import type { FastifyInstance } from 'fastify'
import { Cancellation } from '../../cancellation.js'
import { actionArray } from '../../contract/answer.js'
import { decodeMsgpack, encodeMsgpack, Float, type MsgpackValue } from '../../contract/msgpack.js'
import type { RequestParser } from '../../contract/parse.js'
import { problemOf } from '../../contract/problem.js'
import { TurboPiError } from '../../errors.js'
import type { PolicyService } from '../../service/service.js'
import type { Turns } from '../event-loop-turns.js'
import { homePage } from '../page/page.js'
import type { Connection, Sockets } from './connection.js'
import { Inbox } from './frame-inbox.js'

/** Requests of one client that may wait before its socket is no longer read. */
const MAX_WAITING_FRAMES = 8

/** WS /: openpi's protocol, byte for byte (pi05-spec §5), so that its clients work unmodified. */
export function openpiRoute(
  app: FastifyInstance,
  service: PolicyService,
  parser: RequestParser,
  sockets: Sockets,
  turns: Turns,
): void {
  app.route({
    method: 'GET',
    url: '/',
    schema: { hide: true },
    handler: homePage,
    wsHandler: (socket, request) => {
      const connection = sockets.open(socket, 'openpi')
      const inbox = new Inbox(socket, connection, turns, MAX_WAITING_FRAMES)
      const session = new OpenpiSession(service, parser, connection, error =>
        request.log.error({ err: error }, 'A request of an openpi client failed'),
      )
      connection.track(
        session.greet().then(() => inbox.open((frame, isBinary) => session.receive(frame, isBinary))),
      )
    },
  })
}

/** Strict request and reply: one inference at a time, answers in the order of the requests, never latest-wins. */
class OpenpiSession {
  #failed = false
  /** When the server began to wait for the request at hand. */
  #roundStart = performance.now()
  #previousMs: number | undefined
  /** The request at hand. */
  #request = new Cancellation()

  constructor(
    private readonly service: PolicyService,
    private readonly parser: RequestParser,
    private readonly connection: Connection,
    private readonly log: (error: unknown) => void,
  ) {
    connection.gone.addEventListener('abort', () => this.#request.abort(connection.gone.reason))
  }

  /** Sends the metadata as soon as the service can answer; clients wait for it before they ask. */
  async greet(): Promise<void> {
    try {
      await this.service.start()
      this.connection.send(encodeMsgpack(this.service.metadata().openpi as MsgpackValue))
      this.#roundStart = performance.now()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Answers one frame; the next one has to wait for that. */
  async receive(frame: Buffer, isBinary: boolean): Promise<void> {
    if (this.#failed) return
    try {
      await this.#answer(frame, isBinary)
    } catch (error) {
      this.#fail(error)
    }
  }

  async #answer(frame: Buffer, isBinary: boolean): Promise<void> {
    if (!isBinary)
      throw new TurboPiError('BODY_MALFORMED', 'Requests are binary MessagePack frames, got text.')
    const start = performance.now()
    // A signal of its own: what listened to a signal of the connection would live as long as that does.
    this.#request = new Cancellation()
    const observation = this.parser.observation(decodeMsgpack(frame), 'msgpack')
    const answer = await this.service.infer(
      observation,
      {},
      { session: this.connection.session, signal: this.#request },
    )
    const { visionMs, prefixMs, denoiseMs } = answer.timing
    this.connection.send(
      encodeMsgpack({
        actions: actionArray(answer),
        policy_timing: { infer_ms: new Float(visionMs + prefixMs + denoiseMs) },
        server_timing: {
          infer_ms: new Float(performance.now() - start),
          ...(this.#previousMs !== undefined && { prev_total_ms: new Float(this.#previousMs) }),
        },
      }),
    )
    const end = performance.now()
    this.#previousMs = end - this.#roundStart
    this.#roundStart = end
  }

  /** What openpi's clients raise: a text frame, then a close; the next request needs a new connection. */
  #fail(error: unknown): void {
    this.#failed = true
    if (this.connection.gone.aborted) return
    const { title, code, status, detail } = problemOf(error)
    if (status >= 500) this.log(error)
    this.connection.send(`${title} (${code})\n${detail}`)
    this.connection.close(1011, 'The previous frame says why.')
  }
}
