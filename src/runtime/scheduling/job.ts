import type { PerceiveRow } from '../runtime.js'

/** One inference as the dispatcher takes it. */
export interface InferenceJob {
  row: PerceiveRow
  /** The seed of its noise, or the noise itself: [actionHorizon, actionDim]. */
  noise: number | Float32Array
  steps: number
  /**
   * Latest useful completion, in performance.now() milliseconds; work past it is not started. The queue reads it
   * whenever it chooses, so a getter may move it while the job waits.
   */
  readonly deadline?: number | undefined
  /** Whose work it is; the queue is fair between sessions. */
  session: string
  /**
   * Its caller will put a newer observation in its place if it waits long enough. Of such jobs the freshest goes first: those
   * passed over are fresh themselves when their turn comes.
   */
  readonly replaceable?: boolean | undefined
  /** Called when the job leaves the queue for the engine. */
  onStart?: () => void
}

export interface InferenceResult {
  /** Normalised actions [actionHorizon, actionDim]. */
  actions: Float32Array
  timing: {
    queueMs: number
    visionMs: number
    prefixMs: number
    denoiseMs: number
    /** Rows that shared the engine call. */
    batch: number
  }
}

/** Anything that turns jobs into results: the Dispatcher. */
export interface InferenceQueue {
  submit(job: InferenceJob, signal?: AbortSignal): Promise<InferenceResult>
  close(): Promise<void>
}
