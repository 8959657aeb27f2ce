import type { FastifyInstance, RouteHandlerMethod } from 'fastify'
import { Cancellation } from '../../cancellation.js'
import { actionArray, type InferenceAnswer } from '../../contract/answer.js'
import { shown } from '../../contract/limits.js'
import { decodeMsgpack, encodeMsgpack, Float, type MsgpackValue } from '../../contract/msgpack.js'
import { type ProblemDocument, problemOf } from '../../contract/problem.js'
import { TurboPiError } from '../../errors.js'
import type { RequestTrace } from '../../service/request-trace.js'
import { type Served, type Serving, sameShape } from '../../service/served.js'
import type { Turns } from '../event-loop-turns.js'
import type { Refusals } from '../refusals.js'
import type { Connection, Sockets } from './connection.js'
import { Inbox } from './frame-inbox.js'

/** Requests of one client that may wait before its socket is no longer read. */
const MAX_WAITING_FRAMES = 8

/** Keys that are passed over of which the log tells. */
const MOST_KEYS = 16

interface Shared {
  sockets: Sockets
  turns: Turns
  refusals: Refusals
}

/** WS /: openpi's protocol, byte for byte (network §5), so that its clients work unmodified. */
export function openpiRoute(
  app: FastifyInstance,
  served: Served,
  { sockets, turns, refusals, home }: Shared & { home: RouteHandlerMethod },
): void {
  app.route({
    method: 'GET',
    url: '/',
    config: { open: true, socket: true },
    schema: { hide: true },
    handler: home,
    wsHandler: (socket, request) => {
      const connection = sockets.open(socket, 'openpi', served, request)
      const inbox = new Inbox(socket, connection, turns, MAX_WAITING_FRAMES)
      const session = new OpenpiSession(served, connection, {
        failed: error => request.log.error({ err: error }, 'A request of an openpi client failed'),
        refused: problem => refusals.log(request.log, problem, connection),
        passedOver: keys =>
          request.log.warn(
            { keys },
            'Keys of an openpi client that the policy does not take are passed over',
          ),
      })
      connection.track(
        session.greet().then(() => inbox.open((frame, isBinary) => session.receive(frame, isBinary))),
      )
    },
  })
}

/** Strict request and reply: one inference at a time, answers in the order of the requests, never latest-wins. */
class OpenpiSession {
  #failed = false
  /** Whether the log has heard which keys are passed over. */
  #toldKeys = false
  /** When the server began to wait for the request at hand. */
  #roundStart = performance.now()
  #previousMs: number | undefined
  /** The service has taken up the request at hand, and counts its error. */
  #asked = false
  /** The request at hand. */
  #request = new Cancellation()
  /** What the client was told of, or was exchanged for something alike. */
  #serving: Serving

  constructor(
    private readonly served: Served,
    private readonly connection: Connection,
    private readonly log: {
      failed(error: unknown): void
      refused(problem: ProblemDocument): void
      passedOver(keys: readonly string[]): void
    },
  ) {
    this.#serving = served.current
    connection.gone.addEventListener('abort', () => this.#request.abort(connection.gone.reason))
  }

  /** Sends the metadata as soon as the service can answer; clients wait for it before they ask. */
  async greet(): Promise<void> {
    try {
      const { service } = this.#serving
      await service.start()
      this.connection.send(encodeMsgpack(service.metadata().openpi as MsgpackValue))
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
    this.#asked = false
    this.connection.key?.take()
    // A signal of its own: what listened to a signal of the connection would live as long as that does.
    this.#request = new Cancellation()
    const { service, parser } = this.#exchanged()
    const { observation, passedOver } = parser.openpiObservation(decodeMsgpack(frame))
    if (passedOver.length > 0 && !this.#toldKeys) {
      this.#toldKeys = true
      this.log.passedOver(passedOver.slice(0, MOST_KEYS).map(shown))
    }
    const { key, robot, caller } = this.connection
    const { traceparent } = this.connection.trace
    const trace: RequestTrace = { traceparent, connection: true, receivedAt: start }
    const asked = { session: caller, robot: robot?.name, signal: this.#request, trace }
    this.#asked = true
    const finished = key?.begin()
    let answer: InferenceAnswer
    try {
      answer = await service.infer(observation, {}, asked)
    } finally {
      finished?.()
    }
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
    trace.sentAt = end
    this.connection.robot?.answered(this.served.name, end - start, answer)
    this.#previousMs = end - this.#roundStart
    this.#roundStart = end
  }

  /** What serves now. This protocol cannot tell a client of a policy that takes something else: it has to connect anew. */
  #exchanged(): Serving {
    const { current } = this.served
    if (current !== this.#serving) {
      if (!sameShape(this.#serving.service.metadata(), current.service.metadata()))
        throw new TurboPiError(
          'OBSERVATION_INVALID',
          'The policy was exchanged for one that takes other observations or gives other actions: connect again.',
        )
      this.#serving = current
    }
    return current
  }

  /** What openpi's clients raise: a text frame, then a close; the next request needs a new connection. */
  #fail(error: unknown): void {
    this.#failed = true
    if (this.connection.gone.aborted) return
    const problem = problemOf(error)
    const { title, code, status, detail } = problem
    this.connection.robot?.failed(this.served.name, code)
    if (!this.#asked) this.served.metrics.refused(code)
    if (status >= 500) this.log.failed(error)
    else this.log.refused(problem)
    this.connection.send(`${title} (${code})\n${detail}`)
    this.connection.close(1011, 'The previous frame says why.')
  }
}
