import type { Static } from 'typebox'
import { type GuardReport, guardReply } from './guard.js'
import { Float, NdArray } from './msgpack.js'
import type { RtcReport, ServedChunk } from './rtc.js'
import type { ServerTiming } from './server-timing.js'

/** Where among the rows of one engine call an answer was computed: the last bits depend on how many there are. Not for the wire. */
export interface BatchPlace {
  /** Counts the engine calls of a service. */
  batch: number
  row: number
  rows: number
  /** The card, as CUDA counts them; absent on CPUs. */
  device?: number
}

/** What one inference gives, before it is put on a wire. */
export interface InferenceAnswer {
  /** Row-major [horizon, actionSize], robot action space; shared between coalesced callers, so not to be changed. */
  readonly actions: Float64Array
  horizon: number
  actionSize: number
  /** Null when the caller gave the noise itself. */
  seed: number | null
  /** Another caller's inference of the same observation answered this one. */
  coalesced: boolean
  /** The deadline had passed; only for callers that accept late answers. */
  late: boolean
  /** The prompt was longer than the policy takes and lost its tail. */
  truncated: boolean
  guard: GuardReport
  /** What became of real-time chunking; null when it was not asked for. */
  rtc: RtcReport | null
  /** The chunk as it can be continued; not for the wire. */
  served: ServedChunk
  readonly place: BatchPlace
  /** Digest of the policy that acts: weights, config, statistics, tokenizer and embodiment. */
  model: string
  timing: {
    decodeMs: number
    queueMs: number
    visionMs: number
    prefixMs: number
    denoiseMs: number
    totalMs: number
  }
}

/** Rows of a chunk as nested arrays. */
export function actionRows(answer: Pick<InferenceAnswer, 'actions' | 'horizon' | 'actionSize'>): number[][] {
  const rows: number[][] = []
  for (let row = 0; row < answer.horizon; row++)
    rows.push(Array.from(answer.actions.subarray(row * answer.actionSize, (row + 1) * answer.actionSize)))
  return rows
}

/** A chunk as the float64 array that openpi's clients expect. */
export function actionArray(answer: Pick<InferenceAnswer, 'actions' | 'horizon' | 'actionSize'>): NdArray {
  const { actions, horizon, actionSize } = answer
  return new NdArray(
    '<f8',
    [horizon, actionSize],
    new Uint8Array(actions.buffer, actions.byteOffset, actions.byteLength),
  )
}

const inferMs = ({ timing }: InferenceAnswer) => timing.visionMs + timing.prefixMs + timing.denoiseMs

export function serverTiming({ timing }: InferenceAnswer): Static<typeof ServerTiming> {
  return {
    decode_ms: timing.decodeMs,
    queue_ms: timing.queueMs,
    vision_ms: timing.visionMs,
    prefix_ms: timing.prefixMs,
    denoise_ms: timing.denoiseMs,
    total_ms: timing.totalMs,
  }
}

/** What became of options.rtc, in answers to requests that had them alone: other clients get the keys they know. */
const rtcReply = (rtc: RtcReport | null) =>
  rtc && {
    rtc: {
      mode: rtc.mode,
      dropped: rtc.dropped,
      rows: rtc.rows,
      inference_delay: rtc.inferenceDelay,
      execution_horizon: rtc.executionHorizon,
      max_guidance_weight: rtc.maxGuidanceWeight,
      capped: rtc.capped,
    },
  }

/** What is told of a chunk beside its actions, for JSON. */
export function reportReply(answer: InferenceAnswer) {
  return {
    seed: answer.seed,
    coalesced: answer.coalesced,
    truncated: answer.truncated,
    guard: guardReply(answer.guard),
    ...rtcReply(answer.rtc),
    policy_timing: { infer_ms: inferMs(answer) },
    server_timing: serverTiming(answer),
    model: answer.model,
  }
}

/** The JSON answer of POST /infer. */
export const jsonReply = (answer: InferenceAnswer) => ({
  actions: actionRows(answer),
  ...reportReply(answer),
})

/** The same in msgpack-numpy: `actions` is a float64 array, timings are float64 as in Python. */
export function msgpackReply(answer: InferenceAnswer) {
  return {
    actions: actionArray(answer),
    seed: answer.seed,
    coalesced: answer.coalesced,
    truncated: answer.truncated,
    guard: guardReply(answer.guard),
    ...rtcReply(answer.rtc),
    policy_timing: { infer_ms: new Float(inferMs(answer)) },
    server_timing: floats(serverTiming(answer)),
    model: answer.model,
  }
}

/** Numbers that must travel as float64 even when they are whole. */
export const floats = (record: Record<string, number>): Record<string, Float> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, new Float(value)]))
