import { randomInt } from 'node:crypto'
import type { InferOptions, Observation, ObservationSpec } from '../contract/observation.js'
import { TurboPiError } from '../errors.js'
import type { GuardReport, Policy, PreparedObservation } from '../policy/policy.js'
import { Dispatcher, type DispatcherOptions } from '../runtime/dispatcher.js'
import type { InferenceJob, InferenceQueue, InferenceResult } from '../runtime/job.js'
import type { Runtime, RuntimeInfo } from '../runtime/runtime.js'
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
}

/** Milliseconds of each stage. */
export interface InferenceTiming {
  /** Decoding and resizing images, and writing the prompt. */
  decodeMs: number
  /** Waiting for the engine. */
  queueMs: number
  visionMs: number
  prefixMs: number
  denoiseMs: number
  /** From the call of `infer` to its answer. */
  totalMs: number
}

/** One action chunk and how it came about. */
export interface InferenceAnswer {
  /** Row-major [horizon, actionSize] in robot action space; shared between coalesced callers, so not to be changed. */
  readonly actions: Float64Array
  horizon: number
  actionSize: number
  /** The seed that repeats this answer bit for bit; null when the caller gave the noise itself. */
  seed: number | null
  /** True when another caller's inference of the same observation answered this one. */
  coalesced: boolean
  /** True when the deadline had passed; only for callers that accept late answers. */
  late: boolean
  timing: InferenceTiming
  guard: GuardReport
  /** True when the prompt was longer than the model takes and lost its tail. */
  truncated: boolean
}

/** What this server serves. */
export interface ServiceMetadata {
  policy: string
  observation: ObservationSpec
  actionHorizon: number
  actionSize: number
  defaultSteps: number
  runtime: Pick<RuntimeInfo, 'backend' | 'device' | 'precision' | 'maxBatch' | 'fingerprint'>
  /** openpi's policy_metadata: the first frame of its protocol. */
  openpi: Readonly<Record<string, unknown>>
}

/** Standard normal noise, the same for the same seed on every machine. */
export type SeededNoise = (seed: number, count: number) => Float32Array

export interface ServiceParts {
  policy: Policy
  runtime: Runtime
  seededNoise: SeededNoise
  queue?: Omit<DispatcherOptions, 'observer'>
}

type SharedAnswer = Omit<InferenceAnswer, 'coalesced' | 'late'>

/** One observation in, one action chunk out, over whatever wire it came. Owns the policy and the runtime. */
export class PolicyService {
  readonly metrics = new Metrics()
  readonly #policy: Policy
  readonly #runtime: RuntimeInfo
  readonly #queue: InferenceQueue
  readonly #seededNoise: SeededNoise
  readonly #preparing = new Set<Promise<unknown>>()
  readonly #coalescer = new Coalescer<SharedAnswer>()
  #phase: 'starting' | 'ready' | 'closed' = 'starting'

  constructor({ policy, runtime, seededNoise, queue }: ServiceParts) {
    this.#policy = policy
    this.#runtime = runtime.info
    this.#queue = new Dispatcher(runtime, { ...queue, observer: this.metrics.runtime })
    this.#seededNoise = seededNoise
  }

  /** True from the end of the self-test until `close`. */
  get ready(): boolean {
    return this.#phase === 'ready'
  }

  /** Runs one inference of a synthetic observation through every stage; the service is ready once it has passed. */
  async start(): Promise<void> {
    const work = { signal: new AbortController().signal, deadline: undefined }
    try {
      await this.#run(syntheticObservation(this.#policy), { seed: 0 }, 'self-test', work)
    } catch (error) {
      // What a real policy makes of a black picture may well leave its bounds; the stages ran all the same.
      if (!(error instanceof TurboPiError && error.code === 'ACTIONS_OUT_OF_BOUNDS')) throw error
    }
    if (this.#phase === 'starting') this.#phase = 'ready'
  }

  metadata(): ServiceMetadata {
    const { backend, device, precision, maxBatch, fingerprint } = this.#runtime
    return {
      policy: this.#policy.name,
      observation: this.#policy.spec,
      actionHorizon: this.#policy.model.actionHorizon,
      actionSize: this.#policy.actionSize,
      defaultSteps: this.#policy.defaultSteps,
      runtime: { backend, device, precision, maxBatch, fingerprint },
      openpi: this.#policy.metadata,
    }
  }

  /**
   * Throws NOT_READY before the self-test has passed, SHUTTING_DOWN after `close`, OPTIONS_INVALID for noise of the
   * wrong length, DEADLINE_EXCEEDED, REQUEST_CANCELLED, and the errors of the policy, the queue and the runtime.
   */
  async infer(
    observation: Observation,
    options: InferOptions,
    context: InferContext,
  ): Promise<InferenceAnswer> {
    try {
      const answer = await this.#answer(observation, options, context)
      this.metrics.answered(answer)
      return answer
    } catch (error) {
      this.metrics.failed(error)
      throw error
    }
  }

  /** Not ready at once; work already taken is finished, then queue, runtime and policy are closed. Idempotent. */
  async close(): Promise<void> {
    this.#phase = 'closed'
    await Promise.allSettled(this.#preparing)
    await this.#queue.close()
    await this.#policy.close()
  }

  async #answer(
    observation: Observation,
    options: InferOptions,
    context: InferContext,
  ): Promise<InferenceAnswer> {
    if (this.#phase === 'starting') {
      throw new TurboPiError('NOT_READY', 'The self-test has not passed yet; ask /readyz and try again.')
    }
    if (this.#phase === 'closed') {
      throw new TurboPiError('SHUTTING_DOWN', 'This server takes no more work; connect to another one.')
    }
    const start = performance.now()
    const deadline = options.deadlineMs === undefined ? undefined : start + options.deadlineMs
    const { answer, coalesced } = await this.#coalescer.run(
      observation,
      options,
      { signal: context.signal, deadline, acceptsLate: context.acceptsLate },
      work => this.#run(observation, options, context.session, work),
    )
    const end = performance.now()
    const late = deadline !== undefined && end > deadline
    return { ...answer, coalesced, late, timing: { ...answer.timing, totalMs: end - start } }
  }

  async #run(
    observation: Observation,
    options: InferOptions,
    session: string,
    work: SharedWork,
  ): Promise<SharedAnswer> {
    const policy = this.#policy
    const { actionHorizon: horizon, actionDim } = policy.model
    const start = performance.now()
    const { noise, seed } = this.#noise(options, horizon, actionDim)
    const preparing = this.#prepare(observation, options, session, noise, work)
    this.#preparing.add(preparing)
    const { prepared, submitted } = await preparing.finally(() => this.#preparing.delete(preparing))
    const result = await submitted
    const { actions, guard } = policy.finish(result.actions, prepared)
    const { queueMs, visionMs, prefixMs, denoiseMs } = result.timing
    return {
      actions,
      horizon,
      actionSize: policy.actionSize,
      seed,
      timing: {
        decodeMs: prepared.timing.decodeMs + prepared.timing.prepareMs,
        queueMs,
        visionMs,
        prefixMs,
        denoiseMs,
        totalMs: performance.now() - start,
      },
      guard,
      truncated: prepared.truncated,
    }
  }

  /** Ends when the job is in the queue, so that `close` does not shut the queue before accepted work has reached it. */
  async #prepare(
    observation: Observation,
    options: InferOptions,
    session: string,
    noise: Float32Array,
    work: SharedWork,
  ): Promise<{ prepared: PreparedObservation; submitted: Promise<InferenceResult> }> {
    const prepared = await this.#policy.prepare(observation)
    const { images, tokens, normalisedState } = prepared
    const job: InferenceJob = {
      row: { images, tokens, state: Float32Array.from(normalisedState) },
      noise,
      steps: options.numSteps ?? this.#policy.defaultSteps,
      session,
      get deadline() {
        return work.deadline
      },
    }
    return { prepared, submitted: this.#queue.submit(job, work.signal) }
  }

  #noise(
    options: InferOptions,
    horizon: number,
    width: number,
  ): { noise: Float32Array; seed: number | null } {
    const count = horizon * width
    if (!options.noise) {
      const seed = options.seed ?? randomInt(2 ** 32)
      return { noise: this.#seededNoise(seed, count), seed }
    }
    if (options.noise.length === count) return { noise: options.noise, seed: null }
    const detail = `noise must have ${horizon} × ${width} = ${count} numbers, not ${options.noise.length}`
    throw new TurboPiError('OPTIONS_INVALID', `${detail}.`, {
      fields: [{ pointer: '/options/noise', detail }],
    })
  }
}
