import type { BatchPlace } from '../contract/answer.js'
import type { GuardReport } from '../contract/guard.js'
import type { Observation } from '../contract/observation.js'
import type { MarkKind } from '../contract/report.js'
import type { Continuation } from '../families/pi0/rtc/continuation.js'
import type { PolicyNote } from './handover.js'

/** Whose message it is. Times are Unix nanoseconds. */
interface Told {
  /** Null for callers without a name. */
  robot: string | null
  session: string
  time: bigint
}

/** An observation and what answered it, as a recording holds them. */
export interface RecordedObservation extends Told {
  kind: 'observation'
  /** Counts the observations of the recording. */
  id: number
  seq: number | undefined
  observation: Observation
  /** Cameras that the observation carried and the recording does not. */
  leftOut: readonly string[]
  /** Cameras whose arrays were recorded as JPEG: not as they came. */
  lossy: readonly string[]
  /** As it was sent, [horizon, actionSize]. */
  actions: readonly (readonly number[])[]
  /** As the network computed it, [horizon, actionDim]. */
  network: Float32Array
  steps: number
  noise: number | Float32Array
  continuation: Continuation | undefined
  /** Which engine call, and which of its rows. */
  place: BatchPlace
  guard: Pick<GuardReport, 'clamped'>
  model: string
}

/** What a recording tells, in the order in which it was written. */
export type Recorded =
  | { kind: 'policy'; note: PolicyNote }
  | RecordedObservation
  | (Told & { kind: 'executed'; action: readonly number[]; seq?: number; row?: number })
  | (Told & { kind: 'mark'; mark: MarkKind; text?: string })
  | (Told & { kind: 'error'; code: string; detail: string })
  | (Told & { kind: 'skipped' | 'reset' })
  | { kind: 'dropped'; records: number; reason: string }
  /** The file ends here without its end, at so many bytes: what follows the last whole chunk is lost. */
  | { kind: 'cut'; bytes: number; reason: string }
