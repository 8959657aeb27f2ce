import { TurboPiError } from './errors.js'

/**
 * What a caller that went away gets. Made once: an error captures its stack, which costs more than the rest of a skipped
 * observation.
 */
export const CALLER_LEFT = new TurboPiError(
  'REQUEST_CANCELLED',
  'The caller went away before its answer was ready.',
)

/** Aborts once all of `signals` have, of which there is at least one. */
export function whenAllAbort(signals: readonly AbortSignal[]): AbortSignal {
  if (signals.length === 1) return signals[0]!
  const all = new Cancellation()
  for (const signal of signals)
    signal.addEventListener(
      'abort',
      () => {
        if (signals.every(({ aborted }) => aborted)) all.abort(signal.reason)
      },
      { once: true },
    )
  return all
}

/** For long work that its owner gave up, for example `the start`. */
export const calledOff = (work: string): TurboPiError =>
  new TurboPiError('REQUEST_CANCELLED', `${work} was called off`)

/**
 * An AbortSignal that its owner aborts. Those of AbortController cost more than all else that a request needs, and what
 * they refer to is freed by full collections alone: too much for one a request, or several, at hundreds of camera frames a
 * second (measured on Node.js 20).
 */
export class Cancellation extends EventTarget implements AbortSignal {
  onabort = null
  aborted = false
  reason: unknown

  /** Tells the listeners, the first time. */
  abort(reason: unknown): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason
    this.dispatchEvent(new Event('abort'))
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason
  }
}
