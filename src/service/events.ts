import type { InferenceAnswer } from '../contract/answer.js'
import type { Observation } from '../contract/observation.js'
import type { ExecutedAction, MarkKind } from '../contract/report.js'
import type { Sampling } from '../families/pi0/sampling.js'
import type { RequestTrace } from './request-trace.js'

interface ServiceEvent {
  readonly session: string
  /** The robot's name, where it has one. */
  readonly robot: string | undefined
  /** In performance.now() milliseconds. */
  readonly at: number
}

/** A request has a place in the queue, or shares that of another. */
export interface Accepted extends ServiceEvent {
  /** The caller's number of the observation, where it has one. */
  readonly seq: number | undefined
  /** With the policy's default prompt where the caller left it out. */
  readonly observation: Observation
  /** As it is computed: with the policy's steps and a drawn seed where the caller left them out. */
  readonly sampling: Sampling
}

export interface Answered extends Accepted {
  readonly trace?: RequestTrace | undefined
  readonly answer: InferenceAnswer
}

/** A request got an error, or its caller went away (REQUEST_CANCELLED). */
export interface Failed extends ServiceEvent {
  readonly seq: number | undefined
  /** As it came. */
  readonly observation: Observation
  readonly error: unknown
  readonly trace?: RequestTrace | undefined
}

/** A newer observation of its session took the place of one that waited. */
export type Superseded = ServiceEvent

/** An episode of a session begins. */
export type StartedOver = ServiceEvent

/** What a robot says that it did. Times are performance.now() milliseconds of this process. */
export interface Reported extends ServiceEvent {
  readonly executed: readonly ExecutedAction[]
  readonly marks: readonly { readonly kind: MarkKind; readonly at: number; readonly text?: string }[]
}

interface Events {
  accepted: Accepted
  answered: Answered
  failed: Failed
  superseded: Superseded
  startedOver: StartedOver
  reported: Reported
}

type Kind = keyof Events

/** Who wants to know what a service does; each method is optional. Observations and answers are not to be changed. */
export type ServiceListener = { [K in Kind]?: (event: Events[K]) => void | Promise<void> }

/** Tells the listeners of a service what happened, in order, once the answers have left. */
export class ServiceEvents {
  readonly #listeners: ServiceListener[] = []
  readonly #onError: (error: unknown) => void
  /** What is still to be told. */
  #untold: { kind: Kind; event: Events[Kind] }[] = []

  /** `onError` is given what a listener throws; nobody else notices. */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError
  }

  /** Returns how to stop listening. */
  listen(listener: ServiceListener): () => void {
    this.#listeners.push(listener)
    return () => {
      const at = this.#listeners.indexOf(listener)
      if (at >= 0) this.#listeners.splice(at, 1)
    }
  }

  /** Whether anybody wants to know of such events. */
  hears(kind: Kind): boolean {
    return this.#listeners.some(listener => listener[kind])
  }

  /** Tells it in a later turn of the event loop. */
  emit<K extends Kind>(kind: K, event: Events[K]): void {
    if (!this.hears(kind)) return
    this.#untold.push({ kind, event })
    if (this.#untold.length === 1) setImmediate(() => this.flush())
  }

  /** Tells what is still to be told. */
  flush(): void {
    const untold = this.#untold
    this.#untold = []
    for (const { kind, event } of untold) {
      for (const listener of this.#listeners) this.#tell(listener, kind, event)
    }
  }

  #tell(listener: ServiceListener, kind: Kind, event: Events[Kind]): void {
    try {
      const done = (listener[kind] as ((event: Events[Kind]) => void | Promise<void>) | undefined)?.call(
        listener,
        event,
      )
      done?.catch(this.#onError)
    } catch (error) {
      this.#onError(error)
    }
  }
}
