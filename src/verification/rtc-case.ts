import type { TimeGrid } from '../families/pi0/config.js'
import type { Continuation } from '../families/pi0/rtc/continuation.js'
import { SCHEDULES, type Schedule } from '../families/pi0/rtc/prefix-weights.js'
import type { Sampling } from '../families/pi0/sampling.js'
import type { Safetensors } from '../storage/safetensors.js'

/** Which tensor the actions are compared with, when the times follow a grid. */
export interface Reference {
  /** What the comparison is called. */
  kind: string
  tensor: string
  /** Absent: the checkpoint's own. */
  timeGrid?: TimeGrid
}

/** Cases of real-time chunking were made on both grids; their intermediate tensors are of LeRobot's, which comes first. */
export const BOTH_GRIDS: readonly [Reference, ...Reference[]] = [
  { kind: 'actions', tensor: 'out.actions', timeGrid: 'lerobot' },
  { kind: 'actions_openpi_grid', tensor: 'out.actions_openpi_grid', timeGrid: 'openpi' },
]

/** Modes of the cases; the last one, which needs a backward pass through the network, is not computed. */
export const RTC_MODES = ['guided', 'trained', 'guided_vjp'] as const

export type RtcMode = (typeof RTC_MODES)[number]

/** Parameters of one row, as the metadata writes them. */
interface RowParameters {
  inference_delay: number
  execution_horizon: number | null
  /** Rows of in.prev_chunk that are this row's. */
  prev_len: number
}

/**
 * The samplings of a case's rows, each as it continues the chunk before it; without such a chunk they stay as they are.
 * Throws an Error that names the metadata at fault.
 */
export function continued(
  plain: readonly Sampling[],
  store: Safetensors,
  mode: Exclude<RtcMode, 'guided_vjp'>,
  actionDim: number,
): readonly Sampling[] {
  if (!store.tensors.has('in.prev_chunk')) return plain
  const { metadata } = store
  const [count, length, width] = store.entry('in.prev_chunk').shape as [number, number, number]
  const all = store.float32('in.prev_chunk')
  const shared = {
    inference_delay: Number(metadata['inference_delay']),
    execution_horizon: Number(metadata['execution_horizon']),
    prev_len: length,
  }
  const rows = metadata['rows'] ? (JSON.parse(metadata['rows']) as RowParameters[]) : []
  return plain.map((sampling, b) => {
    const { inference_delay: inferenceDelay, execution_horizon, prev_len } = rows[b] ?? shared
    const from = count === 1 ? 0 : b * length
    const previous = new Float32Array(prev_len * actionDim)
    for (let i = 0; i < prev_len; i++)
      previous.set(all.subarray((from + i) * width, (from + i + 1) * width), i * actionDim)
    const continuation: Continuation =
      mode === 'trained'
        ? { mode, previous, inferenceDelay }
        : {
            mode,
            previous,
            inferenceDelay,
            executionHorizon: Number(execution_horizon),
            schedule: scheduleOf(metadata['schedule']),
            maxGuidanceWeight: Number(metadata['max_guidance_weight']),
          }
    return { ...sampling, continuation }
  })
}

function scheduleOf(name: string | undefined): Schedule {
  const schedule = SCHEDULES.find(known => known === name)
  if (schedule) return schedule
  throw new Error(`metadata schedule is ${JSON.stringify(name)}; expected ${SCHEDULES.join(', ')}`)
}

/** The velocity that each step really took, from where x was and where it came to. */
export function takenVelocity(x: readonly Float32Array[], actions: Float32Array): Float32Array[] {
  return x.map((before, k) => {
    const after = x[k + 1] ?? actions
    return before.map((value, i) => (value - after[i]!) * x.length)
  })
}
