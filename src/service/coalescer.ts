import type { Inference } from './inference.js'
import { type InferenceRequest, isSameInference } from './same-inference.js'

/** The inferences under way, so that callers who ask for the same share one. */
export class Coalescer {
  // A list, for a hash table that grows and shrinks at every request leaves its old tables to full collections, and with
  // them the frames that they hold.
  readonly #inferences: Inference[] = []

  /** One under way that answers `request`, whose inferenceKey is `key`. */
  find(request: InferenceRequest, key: number): Inference | undefined {
    return this.#inferences.find(
      inference => inference.key === key && isSameInference(inference.request, request),
    )
  }

  add(inference: Inference): void {
    this.#inferences.push(inference)
  }

  /** Nobody joins one that has been answered or given up. */
  remove(inference: Inference): void {
    const at = this.#inferences.indexOf(inference)
    if (at >= 0) this.#inferences.splice(at, 1)
  }
}
