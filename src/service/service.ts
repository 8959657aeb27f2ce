import type { InferenceAnswer } from '../contract/answer.js'
import type { InferOptions, Observation, ObservationSpec } from '../contract/observation.js'
import type { ActionShape } from '../contract/schemas.js'
import { TurboPiError } from '../errors.js'
import type { Policy } from '../policy/policy.js'
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

/** What this server serves. */
export interface ServiceMetadata {
  policy: string
  observation: ObservationSpec
  shape: ActionShape
  defaultSteps: number
  /** Null while the engine is loading. */
  runtime: Pick<RuntimeInfo, 'backend' | 'device' | 'precision' | 'maxBatch' | 'fingerprint'> | null
  /** openpi's policy_metadata: the first frame of its protocol. */
  openpi: Readonly<Record<string, unknown>>
}

/** What computes: a runtime behind its queue. */
export interface Engine {
  queue: InferenceQueue
  runtime: RuntimeInfo
}

export interface ServiceParts {
  policy: Policy
  /** Loads in the background: liveness and metadata are answered meanwhile. */
  engine: Promise<Engine>
  /** Standard normal noise, the same for the same seed on every machine. */
  seededNoise(seed: number, count: number): Float32Array
}

/** One observation in, one action chunk out, over whatever wire it came. */
export class PolicyService {
  readonly #parts: ServiceParts
  #engine: Engine | undefined
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
    this.#engine = await this.#parts.engine
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
    await this.#engine?.queue.close()
    await this.#parts.policy.close()
  }

  async #run(
    observation: Observation,
    options: InferOptions,
    context: InferContext,
  ): Promise<InferenceAnswer> {
    const { policy, seededNoise } = this.#parts
    const { queue, runtime } = this.#engine!
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
      model: runtime.fingerprint,
    }
  }
}

function described({
  backend,
  device,
  precision,
  maxBatch,
  fingerprint,
}: RuntimeInfo): ServiceMetadata['runtime'] {
  return { backend, device, precision, maxBatch, fingerprint }
}
