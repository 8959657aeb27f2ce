import { type TSchema, Type } from 'typebox'
import { choice } from './choice.js'
import { invalid, numbers, requireNumbers } from './fields.js'
import { NdArraySchema } from './ndarray-schema.js'
import { NdArray } from './numpy.js'
import type { ActionShape, Wire } from './wire.js'

export const RTC_MODES = ['guided', 'trained'] as const
export const RTC_SCHEDULES = ['zeros', 'ones', 'linear', 'exp'] as const

/** A chunk as the network gave it, kept by the server for what continues it. */
export interface ServedChunk {
  /** [actionHorizon, actionDim], normalised. */
  readonly actions: Float32Array
  /** What its offsets are from: the un-normalised state in training joint space. */
  readonly state: Float64Array
  readonly prompt: string | undefined
  /** Row-major [horizon, actionSize], as it was answered. */
  readonly rows: Float64Array
}

/** The chunk that is being executed. */
export type PreviousOption =
  /** Rows left of it, [rows, actionSize], in robot units. */
  | { readonly rows: Float64Array }
  /** One that this connection was sent, and how many of its rows were executed when the observation was taken. */
  | { readonly chunkId: number; readonly consumed: number }
  /** The same, found. */
  | { readonly served: ServedChunk; readonly consumed: number }

/** Real-time chunking as a caller asks for it (docs/reference/rtc.md). */
export interface RtcOptions {
  readonly mode: (typeof RTC_MODES)[number]
  readonly previous: PreviousOption
  readonly inferenceDelay: number
  readonly executionHorizon?: number
  readonly schedule?: (typeof RTC_SCHEDULES)[number]
  readonly maxGuidanceWeight?: number
}

/** What became of it. */
export interface RtcReport {
  mode: RtcOptions['mode']
  /** Why the previous chunk was left out and the new one drawn afresh; null when it was continued. */
  dropped: 'prompt' | 'consumed' | null
  /** Rows that were left of the previous chunk. */
  rows: number
  inferenceDelay: number
  /** As used, at most `rows`; null when trained. */
  executionHorizon: number | null
  /** As used; null when trained. */
  maxGuidanceWeight: number | null
  /** The weight was more than the number of steps, and was lowered to it. */
  capped: boolean
}

/** `options.rtc`. */
export function rtcSchema({ horizon, actionSize }: ActionShape, wire: Wire): TSchema {
  const row = Type.Array(Type.Number(), { minItems: actionSize, maxItems: actionSize })
  const rows = Type.Array(row, { maxItems: horizon })
  const chunk = wire === 'json' ? rows : Type.Union([rows, NdArraySchema])
  const count = (description: string) => Type.Integer({ minimum: 0, description })
  return Type.Object(
    {
      mode: Type.Optional(
        choice(RTC_MODES, { description: 'guided (default), or trained for checkpoints that were' }),
      ),
      previous_chunk: Type.Optional({
        ...chunk,
        description: `rows of the previous chunk not yet executed when the observation was taken, as they were served: [at most ${horizon}, ${actionSize}]`,
      } as TSchema),
      previous_chunk_id: Type.Optional(
        count(
          'instead of previous_chunk, on WS /stream: chunk_id of one of the last chunks of this connection',
        ),
      ),
      consumed: Type.Optional(
        count('with previous_chunk_id: its rows that were executed when the observation was taken'),
      ),
      inference_delay: count('rows that will be executed before the new chunk arrives'),
      execution_horizon: Type.Optional(
        count('guided: first row that the previous chunk has no hold on; default 10'),
      ),
      schedule: Type.Optional(
        choice(RTC_SCHEDULES, {
          description: 'guided: how its hold lets go between the two; default linear',
        }),
      ),
      max_guidance_weight: Type.Optional(
        Type.Number({
          exclusiveMinimum: 0,
          description: 'guided: most that one step may correct; default 10, and never more than the steps',
        }),
      ),
    },
    {
      additionalProperties: false,
      title: wire === 'json' ? 'RtcOptions' : 'MsgpackRtcOptions',
      description: 'real-time chunking: continue the chunk that is being executed',
    },
  )
}

const Nullable = <S extends TSchema>(schema: S, description: string) =>
  Type.Union([schema, Type.Null()], { description })

/** `rtc` in an answer. */
export const RtcReportSchema = Type.Object(
  {
    mode: choice(RTC_MODES, { description: 'as asked for' }),
    dropped: Nullable(
      choice(['prompt', 'consumed'], { description: '' }),
      'why the previous chunk was left out: it was for another prompt, or nothing was left of it; null when it was continued',
    ),
    rows: Type.Integer({ description: 'rows that were left of the previous chunk' }),
    inference_delay: Type.Integer(),
    execution_horizon: Nullable(Type.Integer(), 'as used, at most `rows`; null when trained'),
    max_guidance_weight: Nullable(Type.Number(), 'as used; null when trained'),
    capped: Type.Boolean({
      description: 'true when the weight was more than the number of steps, and was lowered to it',
    }),
  },
  { title: 'RtcReport' },
)

interface RawRtc {
  mode?: RtcOptions['mode']
  previous_chunk?: number[][] | NdArray
  previous_chunk_id?: number
  consumed?: number
  inference_delay: number
  execution_horizon?: number
  schedule?: RtcOptions['schedule']
  max_guidance_weight?: number
}

const refuse = (field: string, detail: string) => invalid(`/options/rtc/${field}`, detail, 'OPTIONS_INVALID')

/** `options.rtc` that fits the schema. Throws OPTIONS_INVALID for what a schema cannot tell. */
export function rtcOf(value: unknown, shape: ActionShape): RtcOptions {
  const raw = value as RawRtc
  const { mode = 'guided', execution_horizon, schedule, max_guidance_weight } = raw
  if (mode === 'trained')
    for (const field of ['execution_horizon', 'schedule', 'max_guidance_weight'] as const)
      if (raw[field] !== undefined) throw refuse(field, 'belongs to mode guided; leave it out')
  return {
    mode,
    previous: previousOf(raw, shape),
    inferenceDelay: raw.inference_delay,
    ...(execution_horizon !== undefined && { executionHorizon: execution_horizon }),
    ...(schedule !== undefined && { schedule }),
    ...(max_guidance_weight !== undefined && { maxGuidanceWeight: max_guidance_weight }),
  }
}

function previousOf(
  { previous_chunk, previous_chunk_id, consumed }: RawRtc,
  shape: ActionShape,
): PreviousOption {
  if ((previous_chunk === undefined) === (previous_chunk_id === undefined))
    throw refuse('previous_chunk', 'or previous_chunk_id must be given, and not both')
  if (previous_chunk_id === undefined) {
    if (consumed !== undefined)
      throw refuse('consumed', 'belongs to previous_chunk_id; previous_chunk holds the rows that are left')
    return { rows: rowsOf(previous_chunk!, shape) }
  }
  if (consumed === undefined) throw refuse('consumed', 'is required with previous_chunk_id')
  return { chunkId: previous_chunk_id, consumed }
}

/** The schema sees to the size of nested lists; a NumPy array's is seen to here. */
function rowsOf(chunk: number[][] | NdArray, { horizon, actionSize }: ActionShape): Float64Array {
  const pointer = '/options/rtc/previous_chunk'
  requireNumbers(chunk, pointer, 'OPTIONS_INVALID')
  if (chunk instanceof NdArray) {
    const [count, width] = chunk.shape
    if (chunk.shape.length !== 2 || count! > horizon || width !== actionSize)
      throw invalid(
        pointer,
        `must have shape [at most ${horizon}, ${actionSize}], got [${chunk.shape.join(', ')}]`,
        'OPTIONS_INVALID',
      )
  }
  const rows =
    chunk instanceof NdArray ? numbers(chunk, pointer, 'OPTIONS_INVALID') : Float64Array.from(chunk.flat())
  if (!rows.every(Number.isFinite)) throw invalid(pointer, 'must be finite', 'OPTIONS_INVALID')
  return rows
}
