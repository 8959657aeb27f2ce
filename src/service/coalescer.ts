import type { Sampling } from '../families/pi0/sampling.js'
import { type Caller, type Engine, Inference } from './inference.js'
import { type InferenceRequest, inferenceKey, isSameInference } from './same-inference.js'

/** What a caller waits for: an inference of its own, or one that was under way already. */
export interface Asked {
  readonly inference: Inference
  readonly shared: boolean
}

/** The inferences under way, so that callers who ask for the same share one. */
export class Coalescer {
  // A list, for a hash table that grows and shrinks at every request leaves its old tables to full collections, and with
  // them the frames that they hold.
  readonly #inferences: Inference[] = []

  /**
   * The inference under way that answers `request`, or a new one with what `draw` gives; the caller has still to `join` or to `wait`.
   * Throws as the constructor of Inference does. `deadline` is in the queue's time.
   */
  ask(
    engine: Engine,
    request: InferenceRequest,
    caller: Caller,
    deadline: number | undefined,
    draw: (request: InferenceRequest) => Sampling,
  ): Asked {
    const key = inferenceKey(request)
    const found = this.#inferences.find(
      inference => inference.key === key && isSameInference(inference.request, request),
    )
    if (found) return { inference: found, shared: true }
    const inference = new Inference(engine, request, key, draw(request), caller, deadline, this.#ended)
    this.#inferences.push(inference)
    return { inference, shared: false }
  }

  /** Nobody joins one that has been answered or given up. */
  readonly #ended = (inference: Inference): void => {
    const at = this.#inferences.indexOf(inference)
    if (at >= 0) this.#inferences.splice(at, 1)
  }
}
