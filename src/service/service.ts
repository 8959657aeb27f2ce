import { Cancellation } from '../cancellation.js'
import type { InferenceAnswer } from '../contract/answer.js'
import type { InferOptions, Observation, ObservationSpec } from '../contract/observation.js'
import type { ActionShape } from '../contract/schemas.js'
import { TurboPiError } from '../errors.js'
import type { Policy, PreparedObservation } from '../policy/policy.js'
import { randomSeed } from '../runtime/noise.js'
import type { PerceiveRow, Runtime, RuntimeInfo } from '../runtime/runtime.js'
import { Dispatcher, type DispatcherOptions } from '../runtime/scheduling/dispatcher.js'
import type { InferenceJob, InferenceQueue, InferenceResult } from '../runtime/scheduling/job.js'
import { Coalescer, type SharedWork } from './coalescer.js'
import { Metrics } from './metrics.js'
import { syntheticObservation } from './self-test.js'

/** Who asks, and until when. */
export interface InferContext {
  /** The queue is fair between sessions: one a WebSocket connection, one an HTTP client. */
  session: string
  /** Aborted when the caller goes away. */
  signal?: AbortSignal
  /**
   * Takes an answer that comes after its deadline, marked `late`. Otherwise the caller gets DEADLINE_EXCEEDED the
   * moment the deadline passes. Work past its deadline is not started either way.
   */
  acceptsLate?: boolean
  /** A newer observation of the session will take its place while it waits: see InferenceJob. */
  replaceable?: boolean
  /** Called when the engine takes up the inference: from here on its answer will be the freshest to be had. */
  onStart?: () => void
}

/** Is told of every answer. */
export type Watcher = (observation: Observation, answer: InferenceAnswer, session: string) => void

/** What this server serves. */
export interface ServiceMetadata {
  policy: string
  observation: ObservationSpec
  shape: ActionShape
  defaultSteps: number
  /** Null while the engine is loading. */
  runtime: Pick<
    RuntimeInfo,
    'backend' | 'device' | 'precision' | 'maxBatch' | 'fingerprint' | 'chosen'
  > | null
  /** openpi's policy_metadata: the first frame of its protocol. */
  openpi: Readonly<Record<string, unknown>>
}

export interface ServiceParts {
  policy: Policy
  /** Loads in the background: liveness and metadata are answered meanwhile. */
  runtime: Promise<Runtime>
  /** Draws the seed of the noise for callers that give none; default: at random. */
  drawSeed?: () => number
  queue?: Omit<DispatcherOptions, 'observer'>
}

/** A runtime behind its queue. */
interface Engine {
  queue: InferenceQueue
  runtime: RuntimeInfo
}

/** What callers share of an answer: all but when and how each of them got it. */
type SharedAnswer = Omit<InferenceAnswer, 'coalesced' | 'late' | 'timing'> & {
  stages: Omit<InferenceAnswer['timing'], 'totalMs'>
}

/** One observation in, one action chunk out, over whatever wire it came. Owns the policy and the runtime. */
export class PolicyService {
  readonly metrics = new Metrics()
  readonly #parts: ServiceParts
  readonly #watchers: Watcher[] = []
  /** Observations that are being prepared, and who waits for the last of them. */
  #preparing = 0
  #prepared: (() => void) | undefined
  #engine: Engine | undefined
  #starting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  readonly #coalescer = new Coalescer<SharedAnswer>()
  #phase: 'starting' | 'ready' | 'closed' = 'starting'

  constructor(parts: ServiceParts) {
    this.#parts = parts
    // `start` hands on why a runtime could not be had; a service that is closed before does not want to know.
    parts.runtime.catch(() => {})
  }

  /** True from the end of the self-test until `close`. */
  get ready(): boolean {
    return this.#phase === 'ready'
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
    const runtime = await this.#parts.runtime
    const queue = new Dispatcher(runtime, { ...this.#parts.queue, observer: this.metrics.runtime })
    this.#engine = { queue, runtime: runtime.info }
    if (this.#phase === 'closed') return queue.close()
    const work = { signal: new Cancellation(), deadline: undefined, replaceable: false, started: () => {} }
    try {
      await this.#run(syntheticObservation(this.#parts.policy), { seed: 0 }, 'self-test', work)
    } catch (error) {
      // What a real policy makes of a black picture may well leave its bounds; the stages ran all the same.
      if (!(error instanceof TurboPiError && error.code === 'ACTIONS_OUT_OF_BOUNDS')) throw error
    }
    if (this.#phase === 'starting') this.#phase = 'ready'
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
      runtime: this.#engine ? described(this.#engine.runtime) : null,
      openpi: policy.metadata,
    }
  }

  /**
   * Throws NOT_READY before the self-test has passed, SHUTTING_DOWN after `close`, DEADLINE_EXCEEDED,
   * REQUEST_CANCELLED, and the errors of the policy, the queue and the runtime.
   */
  async infer(
    observation: Observation,
    options: InferOptions,
    context: InferContext,
  ): Promise<InferenceAnswer> {
    const start = performance.now()
    try {
      this.#requireReady()
      const deadline = options.deadlineMs === undefined ? undefined : start + options.deadlineMs
      const { session, signal, acceptsLate, replaceable, onStart } = context
      const { answer, coalesced } = await this.#coalescer.run(
        observation,
        options,
        { signal, deadline, acceptsLate, replaceable, onStart },
        work => this.#run(observation, options, session, work),
      )
      const end = performance.now()
      const late = deadline !== undefined && end > deadline
      // Field by field: an object that is spread and then changed is slow to make.
      const { actions, horizon, actionSize, seed, truncated, guard, model, stages } = answer
      const timing = { ...stages, totalMs: end - start }
      const own = { actions, horizon, actionSize, seed, coalesced, late, truncated, guard, model, timing }
      this.metrics.answered(own)
      for (const watcher of this.#watchers) watcher(observation, own, session)
      return own
    } catch (error) {
      this.metrics.failed(error)
      throw error
    }
  }

  watch(watcher: Watcher): void {
    this.#watchers.push(watcher)
  }

  /** Not ready at once; work already taken is finished, then queue, runtime and policy are closed. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#phase = 'closed'
    if (this.#preparing > 0) {
      await new Promise<void>(resolve => {
        this.#prepared = resolve
      })
    }
    await this.#engine?.queue.close()
    await this.#parts.policy.close()
  }

  #requireReady(): void {
    if (this.#phase === 'starting') {
      throw new TurboPiError('NOT_READY', 'The self-test has not passed yet; ask /readyz and try again.')
    }
    if (this.#phase === 'closed') {
      throw new TurboPiError('SHUTTING_DOWN', 'This server takes no more work; connect to another one.')
    }
  }

  async #run(
    observation: Observation,
    options: InferOptions,
    session: string,
    work: SharedWork,
  ): Promise<SharedAnswer> {
    const { policy, drawSeed = randomSeed } = this.#parts
    const noise = options.noise ?? options.seed ?? drawSeed()
    const { prepared, submitted } = await this.#submit(observation, options, session, noise, work)
    const result = await submitted
    const { actions, guard } = policy.finish(result.actions, prepared)
    const { queueMs, visionMs, prefixMs, denoiseMs } = result.timing
    return {
      actions,
      horizon: policy.model.actionHorizon,
      actionSize: policy.actionSize,
      seed: typeof noise === 'number' ? noise : null,
      stages: {
        decodeMs: prepared.timing.decodeMs + prepared.timing.prepareMs,
        queueMs,
        visionMs,
        prefixMs,
        denoiseMs,
      },
      guard,
      truncated: prepared.truncated,
      model: (this.#engine as Engine).runtime.fingerprint,
    }
  }

  /** Prepares and queues; counted, so that `close` does not shut the queue before accepted work has reached it. */
  async #submit(
    observation: Observation,
    options: InferOptions,
    session: string,
    noise: number | Float32Array,
    work: SharedWork,
  ): Promise<{ prepared: PreparedObservation; submitted: Promise<InferenceResult> }> {
    this.#preparing += 1
    try {
      const prepared = await this.#parts.policy.prepare(observation)
      const { images, tokens, normalisedState } = prepared
      const row = { images, tokens, state: new Float32Array(normalisedState) }
      const job = new Job(row, noise, options.numSteps ?? this.#parts.policy.defaultSteps, session, work)
      return { prepared, submitted: (this.#engine as Engine).queue.submit(job, work.signal) }
    } finally {
      this.#preparing -= 1
      if (this.#preparing === 0) this.#prepared?.()
    }
  }
}

/** A shared inference in the queue. Its deadline and whether it is replaceable move with its callers. */
class Job implements InferenceJob {
  constructor(
    readonly row: PerceiveRow,
    readonly noise: number | Float32Array,
    readonly steps: number,
    readonly session: string,
    private readonly work: SharedWork,
  ) {}

  get deadline(): number | undefined {
    return this.work.deadline
  }

  get replaceable(): boolean {
    return this.work.replaceable
  }

  onStart(): void {
    this.work.started()
  }
}

function described({
  backend,
  device,
  precision,
  maxBatch,
  fingerprint,
  chosen,
}: RuntimeInfo): ServiceMetadata['runtime'] {
  return { backend, device, precision, maxBatch, fingerprint, ...(chosen !== undefined && { chosen }) }
}
