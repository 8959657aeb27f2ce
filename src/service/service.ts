import { LRUCache } from 'lru-cache'
import { CALLER_LEFT } from '../cancellation.js'
import type { InferenceAnswer } from '../contract/answer.js'
import type { Observation } from '../contract/observation.js'
import type { RtcReport } from '../contract/rtc.js'
import type { SamplingOptions } from '../contract/sampling.js'
import { reasonOf, TurboPiError } from '../errors.js'
import { drawn } from '../families/pi0/sampling.js'
import { GuardRefusal } from '../policy/guard/refusal.js'
import type { RobotWatch } from '../policy/guard/robot-watch.js'
import { modelIdentity } from '../policy/identity.js'
import type { RgbImage } from '../policy/images/resize.js'
import { weightBytes } from '../runtime/memory.js'
import { randomSeed } from '../runtime/noise.js'
import { Dispatcher } from '../runtime/scheduling/dispatcher.js'
import { Coalescer } from './coalescer.js'
import { continued, executedRow } from './continuation.js'
import { engineObserver, noneWorks } from './engine-observer.js'
import { ServiceEvents } from './events.js'
import { HeldRobots } from './held-robots.js'
import type { Caller, Engine } from './inference.js'
import { described, type ServiceMetadata } from './metadata.js'
import { Metrics } from './metrics.js'
import type { InferenceRequest } from './same-inference.js'
import { syntheticObservation } from './self-test.js'
import type { ServiceParts } from './service-parts.js'
import { StartProgress, type StartStage } from './start-progress.js'

export type { ServiceMetadata } from './metadata.js'
export type { ServiceParts } from './service-parts.js'

/** Sessions whose last observations are remembered by the guard. */
const WATCHED_SESSIONS = 256

const NOT_CONTINUED = { continuation: undefined, report: null }

/** Of the errors of listeners, the first of so many is in the log. */
const LOGGED_ONE_IN = 1000

/** One observation in, one action chunk out, over whatever wire it came. Owns the policy and the runtime. */
export class PolicyService {
  readonly metrics: Metrics
  readonly events: ServiceEvents
  readonly held: HeldRobots
  readonly #parts: ServiceParts
  readonly #coalescer = new Coalescer()
  readonly #watches = new LRUCache<string, RobotWatch>({ max: WATCHED_SESSIONS })
  readonly #progress: StartProgress
  #engine: Engine | undefined
  #listenerErrors = 0
  #starting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #phase: 'starting' | 'ready' | 'closed' = 'starting'

  constructor(parts: ServiceParts) {
    this.#parts = parts
    this.metrics = parts.metrics ?? new Metrics()
    this.held = parts.held ?? new HeldRobots()
    this.#progress = parts.progress ?? new StartProgress()
    this.events = new ServiceEvents(error => this.#listenerFailed(error))
    this.events.listen(this.metrics)
    // `start` hands on why a runtime could not be had; a service that is closed before does not want to know.
    parts.runtime.catch(() => {})
  }

  /** Why nothing can be answered; undefined from the end of the self-test until `close`, while the engine works. */
  get unready(): TurboPiError | undefined {
    if (this.#phase === 'ready' && this.#engine)
      return this.#engine.queue.fault ?? noneWorks(this.#engine.queue)
    if (!this.starting)
      return new TurboPiError('NOT_READY', 'The server is stopping; connect to another one.')
    const { stage, percent } = this.starting
    const done = percent === undefined ? '' : `, ${percent} %`
    return new TurboPiError('NOT_READY', `The engine is starting: ${stage}${done}. Ask again.`)
  }

  /** Where several cards compute: how many of them work. */
  get engines(): { working: number; of: number } | undefined {
    const engines = this.#engine?.queue.engines
    return engines && engines.of > 1 ? engines : undefined
  }

  /** What the start is at; undefined before and after it. */
  get starting(): StartStage | undefined {
    return this.#phase === 'starting' ? this.#progress.now : undefined
  }

  get ready(): boolean {
    return this.unready === undefined
  }

  /**
   * Waits for the runtime, then runs one inference of a synthetic observation through every stage; the service is
   * ready once it has passed. Idempotent: later calls wait for the same start.
   */
  start(): Promise<void> {
    this.#starting ??= this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    const { policy } = this.#parts
    const runtime = await this.#parts.runtime
    const observer = engineObserver(this.metrics.runtime, (...told) => this.#warn(...told))
    const queue = new Dispatcher(runtime, { ...this.#parts.queue, observer })
    const model = modelIdentity(policy.identity, runtime.info.weights)
    this.#engine = { policy, model, queue, runtime: runtime.info }
    const { config, precision } = runtime.info
    this.metrics.serves(model, weightBytes(config, precision), runtime.info.cards)
    if (this.#phase === 'closed') return queue.close()
    this.#progress.report({ name: 'self-test' })
    // Of equal engines the one that has been idle for longest is next: each has one.
    for (let engine = 0; engine < queue.engines.of; engine++) await this.#selfTest(this.#engine)
    if (this.#phase === 'starting') this.#phase = 'ready'
  }

  async #selfTest(engine: Engine): Promise<void> {
    const { request } = this.#resolved(syntheticObservation(this.#parts.policy), { noise: 0 })
    try {
      const caller = { session: 'self-test' }
      const { inference } = this.#coalescer.ask(engine, request, caller, undefined, this.#draw)
      await inference.wait(caller, undefined)
    } catch (error) {
      // What a real policy makes of a grey picture may well leave its bounds; the stages ran all the same.
      if (!(error instanceof GuardRefusal)) throw error
    }
  }

  metadata(): ServiceMetadata {
    const { policy } = this.#parts
    return {
      policy: policy.name,
      observation: policy.spec,
      shape: {
        horizon: policy.model.actionHorizon,
        actionDim: policy.model.actionDim,
        actionSize: policy.actionSize,
      },
      defaultSteps: policy.defaultSteps,
      joints: policy.jointNames,
      stateNames: policy.stateNames,
      trainedDelay: policy.model.trainedDelay,
      model: this.#engine?.model ?? null,
      runtime: this.#engine ? described(this.#engine.runtime) : null,
      openpi: policy.metadata,
    }
  }

  /**
   * Throws NOT_READY before the self-test has passed, ENGINE_HUNG, SHUTTING_DOWN after `close`,
   * DEADLINE_EXCEEDED, REQUEST_CANCELLED, ROBOT_HELD, and the errors of the policy, the queue and the runtime.
   */
  async infer(observation: Observation, options: SamplingOptions, caller: Caller): Promise<InferenceAnswer> {
    const start = performance.now()
    const { session, robot, seq, trace } = caller
    const watch = this.#watchOf(session)
    try {
      const engine = this.#readyEngine()
      if (caller.signal?.aborted) throw CALLER_LEFT
      const { request, rtc } = this.#resolved(observation, options)
      if (watch.mode === 'hold') this.held.requireFree(robot)
      const odd = watch.see(request.observation, start)
      const deadline = caller.deadlineMs === undefined ? undefined : start + caller.deadlineMs
      const { inference, shared } = this.#coalescer.ask(engine, request, caller, deadline, this.#draw)
      const { sampling } = inference
      const seen = request.observation
      this.events.emit('accepted', { session, robot, seq, at: start, observation: seen, sampling })
      const answered = await (shared ? inference.join(caller, deadline) : inference.wait(caller, deadline))
      if (watch.mode === 'hold') this.held.requireFree(robot)
      const end = performance.now()
      const { actionSize } = answered
      const { actions, guard } = watch.answer(answered, odd, executedRow(options.rtc, actionSize), end)
      const { decodeMs, queueMs, visionMs, prefixMs, denoiseMs } = answered.stages
      // Field by field: objects that are spread are slow to make.
      const answer: InferenceAnswer = {
        actions,
        horizon: answered.horizon,
        actionSize,
        seed: answered.seed,
        coalesced: shared,
        late: deadline !== undefined && end > deadline,
        truncated: answered.truncated,
        guard,
        rtc,
        served: actions === answered.actions ? answered.served : { ...answered.served, rows: actions },
        place: answered.place,
        model: answered.model,
        timing: { decodeMs, queueMs, visionMs, prefixMs, denoiseMs, totalMs: end - start },
      }
      this.events.emit('answered', {
        session,
        robot,
        seq,
        at: end,
        observation: seen,
        sampling,
        answer,
        trace,
      })
      return answer
    } catch (error) {
      this.events.emit('failed', { session, robot, seq, at: performance.now(), observation, error, trace })
      if (watch.mode !== 'hold' || robot === undefined || !(error instanceof GuardRefusal)) throw error
      // What the robot does next is no continuation of what was seen before.
      this.#watches.delete(session)
      throw this.held.hold(robot, error.finding)
    }
  }

  /** What the network sees of a camera, for people to look at; as `Policy.picture`. */
  async picture(observation: Observation, camera: string): Promise<RgbImage | undefined> {
    const { policy } = this.#parts
    const side = policy.model.vision.imageSize
    const pixels = await policy.picture(observation, camera)
    return pixels && { pixels, width: side, height: side }
  }

  /** An episode of a session begins, and its robot may stand elsewhere. */
  startOver(session: string, robot?: string): void {
    this.#watches.get(session)?.startOver()
    this.events.emit('startedOver', { session, robot, at: performance.now() })
  }

  /** A newer observation of `session` takes the place of one that waited, whose caller has left. */
  superseded(session: string, robot?: string): void {
    this.events.emit('superseded', { session, robot, at: performance.now() })
  }

  /**
   * Not ready at once; work already taken is finished, then queue, runtime and policy are closed. `patient` waits for
   * that work without end, otherwise what is left after the queue's `drainMs` is given up. Rejects with ENGINE_HUNG when a
   * call of the engine does not return. Idempotent.
   */
  close({ patient = false } = {}): Promise<void> {
    this.#closing ??= this.#close(patient)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(patient: boolean): Promise<void> {
    this.#phase = 'closed'
    try {
      await this.#engine?.queue.close(patient ? Number.POSITIVE_INFINITY : undefined)
    } finally {
      await this.#parts.policy.close()
      this.events.flush()
    }
  }

  #readyEngine(): Engine {
    if (this.#phase === 'closed')
      throw new TurboPiError('SHUTTING_DOWN', 'This server takes no more work; connect to another one.')
    if (this.#phase === 'starting' || !this.#engine)
      throw new TurboPiError('NOT_READY', 'The self-test has not passed yet; ask /readyz and try again.')
    return this.#engine
  }

  /** The request with the policy's prompt and steps where the caller chose none, and what becomes of its `rtc`. */
  #resolved(
    given: Observation,
    { steps: asked, noise, rtc }: SamplingOptions,
  ): { request: InferenceRequest; rtc: RtcReport | null } {
    const { policy } = this.#parts
    const prompt = given.prompt ?? policy.spec.prompt.default
    const { images, state } = given
    const observation = prompt === given.prompt ? given : { images, state, prompt: prompt! }
    const steps = asked ?? policy.defaultSteps
    const { continuation, report } = rtc ? continued(policy, observation, rtc, steps) : NOT_CONTINUED
    return { request: { observation, sampling: { steps, noise, continuation } }, rtc: report }
  }

  /** What watches the observations of a session. */
  #watchOf(session: string): RobotWatch {
    const known = this.#watches.get(session)
    if (known) return known
    const watch = this.#parts.policy.watch()
    this.#watches.set(session, watch)
    return watch
  }

  readonly #draw = ({ sampling }: InferenceRequest) => drawn(sampling, this.#parts.drawSeed ?? randomSeed)

  #warn(message: string, error: unknown): void {
    const { warn = (text: string) => process.emitWarning(text) } = this.#parts
    warn(message, error)
  }

  #listenerFailed(error: unknown): void {
    this.metrics.listenerFailed()
    this.#listenerErrors += 1
    if (this.#listenerErrors % LOGGED_ONE_IN !== 1) return
    this.#warn(
      `A listener of the service's events failed (${reasonOf(error)}); ${this.#listenerErrors} such errors so far.`,
      error,
    )
  }
}
