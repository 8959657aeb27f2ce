import { CALLER_LEFT } from '../cancellation.js'
import type { InferenceAnswer } from '../contract/answer.js'
import { TurboPiError } from '../errors.js'
import type { Sampling } from '../families/pi0/sampling.js'
import type { Policy } from '../policy/policy.js'
import type { RuntimeInfo } from '../runtime/runtime.js'
import type { Dispatcher } from '../runtime/scheduling/dispatcher.js'
import type { Ticket } from '../runtime/scheduling/ticket.js'
import type { RequestTrace } from './request-trace.js'
import type { InferenceRequest } from './same-inference.js'

const MAX_TIMER_MS = 2 ** 31 - 1

/** Who asks, and until when. */
export interface Caller {
  /** The queue is fair between sessions: one a WebSocket connection, one an HTTP client. */
  session: string
  /** The robot's name, where it has one: what a guard holds it by. */
  robot?: string | undefined
  /** The caller's number of the observation, for those who hear of it. */
  seq?: number
  /** For those who draw traces. */
  trace?: RequestTrace
  /** Aborted when the caller goes away. */
  signal?: AbortSignal
  /** Milliseconds from now after which an answer is of no use; work past it is not started. */
  deadlineMs?: number | undefined
  /** Takes an answer that comes after its deadline, marked `late`; others are refused the moment it passes. */
  acceptsLate?: boolean
  /** A newer observation of the session will take its place while it waits: see Admission. */
  replaceable?: boolean
  /** Called when the engine takes up the inference: from here on its answer will be the freshest to be had. */
  onStart?: () => void
}

/** What computes inferences. */
export interface Engine {
  policy: Pick<Policy, 'model' | 'actionSize' | 'pixels' | 'prepare' | 'finish'>
  /** Names the policy with the runtime's weights. */
  model: string
  queue: Dispatcher
  runtime: RuntimeInfo
}

/** What callers share of an answer: all but when and how each of them got it. */
export type SharedAnswer = Omit<InferenceAnswer, 'coalesced' | 'late' | 'rtc' | 'timing'> & {
  stages: Omit<InferenceAnswer['timing'], 'totalMs'>
}

/**
 * One inference, from its place in the queue to its answer, and all who wait for it. A caller whose signal aborts or whose
 * deadline passes leaves alone; the last one to leave gives the inference up. An error reaches all.
 */
export class Inference {
  readonly #engine: Engine
  readonly #ticket: Ticket
  readonly #callers: Caller[] = []
  readonly #answer: Promise<SharedAnswer>
  readonly #onEnd: (inference: Inference) => void
  #started = false

  /**
   * Takes a place in the queue for the first of its callers. `onEnd` is called when it can no longer be joined. Throws
   * OVERLOADED or SHUTTING_DOWN, and IMAGE_* for pictures that are refused by their size. `deadline` is in the queue's time.
   */
  constructor(
    engine: Engine,
    readonly request: InferenceRequest,
    /** For the coalescer. */
    readonly key: number,
    readonly sampling: Sampling,
    { session, replaceable }: Caller,
    deadline: number | undefined,
    onEnd: (inference: Inference) => void,
  ) {
    this.#engine = engine
    this.#onEnd = onEnd
    const onStart = () => this.#start()
    const pixels = engine.policy.pixels(request.observation)
    this.#ticket = engine.queue.admit({ session, deadline, replaceable, pixels, onStart })
    this.#answer = this.#run()
  }

  /** One more caller asks for the same. Its work is due by the latest deadline of all, and replaceable if it is to all. */
  join(caller: Caller, deadline: number | undefined): Promise<SharedAnswer> {
    const ticket = this.#ticket
    if (this.#started) caller.onStart?.()
    ticket.replaceable &&= caller.replaceable ?? false
    if (ticket.deadline === undefined || deadline === undefined) ticket.deadline = undefined
    else ticket.deadline = Math.max(ticket.deadline, deadline)
    return this.wait(caller, deadline)
  }

  /** The answer, or why this caller does not get it. */
  wait(caller: Caller, deadline: number | undefined): Promise<SharedAnswer> {
    const { signal, acceptsLate } = caller
    this.#callers.push(caller)
    return new Promise<SharedAnswer>((resolve, reject) => {
      /** False when this caller has left before. */
      const detach = (): boolean => {
        const at = this.#callers.indexOf(caller)
        if (at < 0) return false
        this.#callers.splice(at, 1)
        callOff?.()
        signal?.removeEventListener('abort', onAbort)
        return true
      }
      const leave = (error: TurboPiError) => {
        if (!detach()) return
        reject(error)
        if (this.#callers.length > 0) return
        this.#onEnd(this)
        this.#engine.queue.leave(this.#ticket, error)
      }
      const onAbort = () => leave(CALLER_LEFT)
      const onDeadline = () =>
        leave(new TurboPiError('DEADLINE_EXCEEDED', 'The deadline passed before an answer was ready.'))
      const { clock } = this.#engine.queue
      const callOff =
        deadline === undefined || acceptsLate
          ? undefined
          : clock.after(Math.min(MAX_TIMER_MS, Math.max(0, deadline - clock.now())), onDeadline)
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#answer.then(
        answer => {
          this.#onEnd(this)
          if (detach()) resolve(answer)
        },
        error => {
          this.#onEnd(this)
          if (detach()) reject(error)
        },
      )
    })
  }

  #start(): void {
    this.#started = true
    for (const caller of this.#callers) caller.onStart?.()
  }

  async #run(): Promise<SharedAnswer> {
    const { policy, model, queue } = this.#engine
    const ticket = this.#ticket
    const prepared = await queue.prepare(ticket, () => policy.prepare(this.request.observation, ticket))
    const { row, truncated } = prepared
    const result = await queue.submit(ticket, row, this.sampling)
    const { actions, guard } = policy.finish(result.actions, prepared)
    const { queueMs, visionMs, prefixMs, denoiseMs } = result.timing
    return {
      actions,
      horizon: policy.model.actionHorizon,
      actionSize: policy.actionSize,
      seed: typeof this.sampling.noise === 'number' ? this.sampling.noise : null,
      stages: {
        decodeMs: prepared.timing.decodeMs + prepared.timing.prepareMs,
        queueMs,
        visionMs,
        prefixMs,
        denoiseMs,
      },
      guard,
      served: {
        actions: result.actions,
        state: prepared.state,
        prompt: this.request.observation.prompt,
        rows: actions,
      },
      truncated,
      place: result.place,
      model,
    }
  }
}
