import type { InferOptions, Observation, ObservationSpec } from '../contract/observation.js'
import { TurboPiError } from '../errors.js'
import type { GuardReport, Policy } from '../policy/policy.js'
import type { InferenceQueue } from '../runtime/job.js'
import type { RuntimeInfo } from '../runtime/runtime.js'
import { syntheticObservation } from './self-test.js'

/** Who asks, and until when. */
export interface InferContext {
  /** The queue is fair between sessions: one a WebSocket connection, one an HTTP client. */
  session: string
  /** Aborted when the caller goes away. */
  signal?: AbortSignal
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
  /** Row-major [horizon, actionSize] in robot action space. */
  actions: Float64Array
  horizon: number
  actionSize: number
  /** The seed that repeats this answer bit for bit; null when the caller gave the noise itself. */
  seed: number | null
  /** True when another caller's inference of the same observation answered this one. */
  coalesced: boolean
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

export interface ServiceParts {
  policy: Policy
  queue: InferenceQueue
  runtime: RuntimeInfo
  /** Standard normal noise, the same for the same seed on every machine. */
  seededNoise(seed: number, count: number): Float32Array
}

/** One observation in, one action chunk out, over whatever wire it came. */
export class PolicyService {
  readonly #parts: ServiceParts
  #state: 'starting' | 'ready' | 'closed' = 'starting'

  constructor(parts: ServiceParts) {
    this.#parts = parts
  }

  /** True from the end of the self-test until `close`. */
  get ready(): boolean {
    return this.#state === 'ready'
  }

  /** Runs one inference of a synthetic observation through every stage; the service is ready once it has passed. */
  async start(): Promise<void> {
    const observation = syntheticObservation(this.#parts.policy)
    try {
      await this.#run(observation, { seed: 0 }, { session: 'self-test' })
    } catch (error) {
      // What a real policy makes of a black picture may well leave its bounds; the stages ran all the same.
      if (!(error instanceof TurboPiError && error.code === 'ACTIONS_OUT_OF_BOUNDS')) throw error
    }
    if (this.#state === 'starting') this.#state = 'ready'
  }

  metadata(): ServiceMetadata {
    const { policy, runtime } = this.#parts
    const { backend, device, precision, maxBatch, fingerprint } = runtime
    return {
      policy: policy.name,
      observation: policy.spec,
      actionHorizon: policy.model.actionHorizon,
      actionSize: policy.actionSize,
      defaultSteps: policy.defaultSteps,
      runtime: { backend, device, precision, maxBatch, fingerprint },
      openpi: policy.metadata,
    }
  }

  /**
   * Throws NOT_READY before the self-test has passed, SHUTTING_DOWN after `close`, and the errors of the policy,
   * the queue and the runtime.
   */
  async infer(
    observation: Observation,
    options: InferOptions,
    context: InferContext,
  ): Promise<InferenceAnswer> {
    if (this.#state === 'starting') {
      throw new TurboPiError('NOT_READY', 'The self-test has not passed yet; ask /readyz and try again.')
    }
    if (this.#state === 'closed') {
      throw new TurboPiError('SHUTTING_DOWN', 'This server takes no more work; connect to another one.')
    }
    return this.#run(observation, options, context)
  }

  /** Not ready at once; work already taken is finished, then queue, runtime and policy are closed. Idempotent. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    await this.#parts.queue.close()
    await this.#parts.policy.close()
  }

  async #run(
    observation: Observation,
    options: InferOptions,
    context: InferContext,
  ): Promise<InferenceAnswer> {
    const { policy, queue, seededNoise } = this.#parts
    const { actionHorizon: horizon, actionDim } = policy.model
    const start = performance.now()
    const deadline = options.deadlineMs === undefined ? undefined : start + options.deadlineMs
    const prepared = await policy.prepare(observation)
    const seed = options.noise ? null : (options.seed ?? Math.floor(Math.random() * 2 ** 32))
    const result = await queue.submit(
      {
        row: {
          images: prepared.images,
          tokens: prepared.tokens,
          state: Float32Array.from(prepared.normalisedState),
        },
        noise: options.noise ?? seededNoise(seed as number, horizon * actionDim),
        steps: options.numSteps ?? policy.defaultSteps,
        deadline,
        session: context.session,
      },
      context.signal,
    )
    const chunk = policy.finish(result.actions, prepared)
    return {
      actions: chunk.actions,
      horizon,
      actionSize: policy.actionSize,
      seed,
      coalesced: false,
      timing: {
        decodeMs: prepared.timing.decodeMs + prepared.timing.prepareMs,
        queueMs: result.timing.queueMs,
        visionMs: result.timing.visionMs,
        prefixMs: result.timing.prefixMs,
        denoiseMs: result.timing.denoiseMs,
        totalMs: performance.now() - start,
      },
      guard: chunk.guard,
      truncated: prepared.truncated,
    }
  }
}
