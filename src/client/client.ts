import { encodeMsgpack, Float, type MsgpackValue, NdArray } from '../contract/msgpack.js'
import type { InferOptions } from '../contract/observation.js'
import type { ProblemDocument } from '../contract/problem.js'
import { TurboPiError } from '../errors.js'
import { type ActionChunk, type ClientObservation, chunkOf } from './chunk.js'
import { ConnectionError, Link, type LinkOptions, type Message } from './link.js'
import { ChunkStream, type Observed } from './stream.js'

/** What the server tells of itself when a connection opens. */
export interface PolicyMetadata {
  policy: string
  /** Digest of the policy that acts. */
  model: string
  actionHorizon: number
  actionSize: number
}

/** Options of one observation. */
export interface ObserveOptions extends InferOptions {
  /** When the sensors were read, on the clock of performance.now(); now, when absent. */
  capturedAt?: number
}

interface Waiting {
  resolve(chunk: ActionChunk): void
  reject(error: Error): void
}

/**
 * A robot's connection to a Turbo-Pi server. It reconnects by itself, with growing pauses; only a refusal (a wrong
 * key, a server without `WS /stream`) is final.
 */
export class TurboPiClient {
  readonly #link: Link
  readonly #waiting = new Map<number, Waiting>()
  #ready: Promise<PolicyMetadata>
  #setReady!: (metadata: PolicyMetadata) => void
  #setFailed!: (error: Error) => void
  #metadata: PolicyMetadata | undefined
  #seq = 0
  #turn: Promise<unknown> = Promise.resolve()
  #stream: ChunkStream | undefined

  private constructor(url: string, options: LinkOptions) {
    this.#ready = this.#newReady()
    this.#link = new Link(url, options, {
      ready: message => this.#onReady(message),
      message: message => this.#onMessage(message),
      lost: (error, final) => this.#onLost(error, final),
    })
  }

  /** Resolves when the server is ready; waits for one that is not up yet. Rejects with ConnectionError when refused. */
  static async connect(url: string, options: LinkOptions = {}): Promise<TurboPiClient> {
    const client = new TurboPiClient(url, options)
    await client.#ready
    return client
  }

  /** Of the server connected last. */
  get metadata(): PolicyMetadata {
    return this.#metadata as PolicyMetadata
  }

  /**
   * One observation, one chunk; calls wait for each other. Fields left out keep their last value. Rejects with the server's TurboPiError (DEADLINE_EXCEEDED
   * when the engine was not free in time), or with ConnectionError when the connection is lost meanwhile.
   */
  infer(observation: ClientObservation, options: ObserveOptions = {}): Promise<ActionChunk> {
    if (this.#stream)
      return Promise.reject(new Error('Close the stream before calling infer on the same client.'))
    const answer = this.#turn.then(async () => {
      await this.#ready
      return this.#observe({ observation, options, capturedAt: options.capturedAt ?? performance.now() })
    })
    this.#turn = answer.catch(() => undefined)
    return answer
  }

  /** Observations in at the camera's pace, the freshest chunks out; one stream at a time. */
  stream(): ChunkStream {
    if (this.#stream) throw new Error('This client has a stream already; close it first.')
    const stream = new ChunkStream(
      observed => this.#send(observed),
      () => {
        this.#stream = undefined
      },
    )
    this.#stream = stream
    return stream
  }

  async close(): Promise<void> {
    this.#stream?.close()
    await this.#link.close()
  }

  #newReady(): Promise<PolicyMetadata> {
    const ready = new Promise<PolicyMetadata>((resolve, reject) => {
      this.#setReady = resolve
      this.#setFailed = reject
    })
    // Nobody may be waiting when a connection fails for good.
    ready.catch(() => undefined)
    return ready
  }

  #observe(observed: Observed): Promise<ActionChunk> {
    return new Promise((resolve, reject) => {
      const seq = this.#seq
      this.#waiting.set(seq, { resolve, reject })
      if (this.#send(observed)) return
      this.#waiting.delete(seq)
      reject(new ConnectionError('The connection is not open.'))
    })
  }

  /** False when there is no connection. */
  #send({ observation, options, capturedAt }: Observed): boolean {
    const { numSteps, seed, noise, deadlineMs } = options
    const { actionHorizon } = this.metadata
    const sent = this.#link.send(
      encodeMsgpack({
        type: 'observation',
        seq: this.#seq,
        observation,
        captured_at: new Float(capturedAt),
        sent_at: new Float(performance.now()),
        ...(deadlineMs !== undefined && { deadline_ms: deadlineMs }),
        options: {
          ...(numSteps !== undefined && { num_steps: numSteps }),
          ...(seed !== undefined && { seed }),
          ...(noise && { noise: noiseArray(noise, actionHorizon) }),
        },
      }),
    )
    if (sent) this.#seq += 1
    return sent
  }

  #onReady({ metadata }: Message): void {
    const { policy, model, action_horizon, action_size } = metadata as Record<string, MsgpackValue>
    this.#metadata = {
      policy: policy as string,
      model: model as string,
      actionHorizon: action_horizon as number,
      actionSize: action_size as number,
    }
    this.#setReady(this.#metadata)
    this.#stream?.resume()
  }

  #onMessage(message: Message): void {
    const seq = message['seq'] as number
    const waiting = this.#waiting.get(seq)
    this.#waiting.delete(seq)
    this.#stream?.settle()
    if (message.type === 'actions') {
      const chunk = chunkOf(message)
      waiting?.resolve(chunk)
      this.#stream?.deliver(chunk)
    } else if (message.type === 'skipped') {
      const reason = message['reason'] as string
      waiting?.reject(new TurboPiError('DEADLINE_EXCEEDED', `The observation was skipped: ${reason}.`))
    } else {
      const { code, detail, errors } = message['error'] as ProblemDocument
      const error = new TurboPiError(code as TurboPiError['code'], detail, { fields: errors })
      waiting?.reject(error)
      this.#stream?.fail(error)
    }
  }

  #onLost(error: ConnectionError, final: boolean): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
    if (final) {
      this.#setFailed(error)
      this.#stream?.fail(error)
      this.#ready = Promise.reject(error)
      this.#ready.catch(() => undefined)
    } else if (this.#metadata) this.#ready = this.#newReady()
  }
}

function noiseArray(noise: Float32Array, horizon: number): NdArray {
  const bytes = new Uint8Array(noise.buffer, noise.byteOffset, noise.byteLength)
  return new NdArray('<f4', [horizon, noise.length / horizon], bytes)
}
