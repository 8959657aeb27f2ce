import { isDeepStrictEqual } from 'node:util'
import type { PrefixSpan } from './prefix-weights.js'

/** What is left of the chunk that the robot executes while the next one is inferred. */
interface Previous {
  /**
   * Rows not executed when the observation was taken, the next one first: [rows, actionDim], normalised, offsets against
   * the state of the new observation, padded with zeros. Rows past the horizon are ignored.
   */
  previous: Float32Array
}

/** Real-time chunking by guidance: each step draws the new chunk towards the previous one (rtc §1). */
export interface Guided extends Previous, PrefixSpan {
  mode: 'guided'
  /** Most that a step may weigh the correction with; more than the number of steps overshoots. */
  maxGuidanceWeight: number
}

/** Real-time chunking as a checkpoint was trained for it: the first rows are given, and have time 0 (rtc §5). */
export interface Prefixed extends Previous {
  mode: 'trained'
  /** Rows that are given. */
  inferenceDelay: number
}

/** How one row of a batch continues the chunk before it. */
export type Continuation = Guided | Prefixed

/** Whether two rows are continued alike, bit for bit. */
export function sameContinuation(a: Continuation | undefined, b: Continuation | undefined): boolean {
  if (!a || !b) return a === b
  const { previous: before, ...parameters } = a
  const { previous, ...others } = b
  return (
    before.length === previous.length &&
    before.every((value, i) => Object.is(value, previous[i])) &&
    isDeepStrictEqual(parameters, others)
  )
}
