import type { Observation } from '../contract/observation.js'
import type { PreviousOption, RtcOptions, RtcReport } from '../contract/rtc.js'
import { TurboPiError } from '../errors.js'
import type { Continuation } from '../families/pi0/rtc/continuation.js'
import { continuationFault } from '../families/pi0/rtc/continuation-check.js'
import type { Policy } from '../policy/policy.js'

/** LeRobot's defaults. */
const EXECUTION_HORIZON = 10
const SCHEDULE = 'linear'
const MAX_GUIDANCE_WEIGHT = 10

/** Larger normalised actions overflow within the network. */
const MOST_NORMALISED = 1e15

/** Real-time chunking as the network takes it, and what the caller is told of it. */
export interface Continued {
  /** Absent when the new chunk is drawn afresh. */
  continuation?: Continuation
  report: RtcReport
}

/**
 * Brings the previous chunk into the network's space, against the state of the new observation (rtc §7). A weight above
 * the number of steps would overshoot (rtc §1), and is lowered to it. Throws OPTIONS_INVALID, or OBSERVATION_INVALID.
 */
export function continued(
  policy: Policy,
  observation: Observation,
  rtc: RtcOptions,
  steps: number,
): Continued {
  const { mode, inferenceDelay } = rtc
  const { actionHorizon, actionDim } = policy.model
  const dropped = droppedFor(rtc.previous, observation, actionHorizon)
  const previous = dropped ? new Float32Array(0) : previousIn(policy, observation, rtc.previous)
  if (!previous.every(x => Math.abs(x) <= MOST_NORMALISED))
    throw refuse('previous_chunk', 'is too far from what the policy was trained on to be continued')
  const rows = previous.length / actionDim
  const executionHorizon = Math.min(rtc.executionHorizon ?? EXECUTION_HORIZON, rows)
  const weight = rtc.maxGuidanceWeight ?? MAX_GUIDANCE_WEIGHT
  const maxGuidanceWeight = Math.min(weight, steps)
  const guided = { executionHorizon, maxGuidanceWeight }
  const continuation: Continuation =
    mode === 'trained'
      ? { mode, previous, inferenceDelay }
      : { mode, previous, inferenceDelay, schedule: rtc.schedule ?? SCHEDULE, ...guided }
  const report: RtcReport = {
    mode,
    dropped,
    rows,
    inferenceDelay,
    ...(mode === 'trained' ? { executionHorizon: null, maxGuidanceWeight: null } : guided),
    capped: mode === 'guided' && weight > steps,
  }
  // Also of a chunk that is dropped: a mistake shows at the first request.
  const fault = continuationFault(
    dropped && mode === 'trained' ? { ...continuation, inferenceDelay: 0 } : continuation,
    policy.model,
  )
  if (fault) throw refuse(fault.field, fault.detail)
  return dropped ? { report } : { continuation, report }
}

/** Why what is left of a kept chunk must not be continued: nothing is left, or it was for another task. */
function droppedFor(
  previous: PreviousOption,
  { prompt }: Observation,
  actionHorizon: number,
): RtcReport['dropped'] {
  if (!('served' in previous)) return null
  if (previous.served.prompt !== prompt) return 'prompt'
  return previous.consumed >= actionHorizon ? 'consumed' : null
}

function previousIn(policy: Policy, observation: Observation, previous: PreviousOption): Float32Array {
  if ('chunkId' in previous)
    throw refuse(
      'previous_chunk_id',
      'names a chunk of a WS /stream connection; send previous_chunk on this wire',
    )
  const state = policy.state(observation)
  const { previousChunks } = policy
  return new Float32Array(
    'served' in previous
      ? previousChunks.fromServed(previous.served, previous.consumed, state)
      : previousChunks.fromRobot(previous.rows, state),
  )
}

function refuse(field: string, detail: string): TurboPiError {
  const pointer = `/options/rtc/${field}`
  return new TurboPiError('OPTIONS_INVALID', `${pointer} ${detail}`, { fields: [{ pointer, detail }] })
}

/** The row of the chunk being executed that was due when the observation was taken, as the caller says; undefined without. */
export function executedRow(rtc: RtcOptions | undefined, actionSize: number): Float64Array | undefined {
  if (!rtc || 'chunkId' in rtc.previous) return undefined
  const { previous } = rtc
  const [rows, from] = 'rows' in previous ? [previous.rows, 0] : [previous.served.rows, previous.consumed]
  const row = rows.subarray(from * actionSize, (from + 1) * actionSize)
  return row.length === actionSize ? row : undefined
}
