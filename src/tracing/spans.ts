import type { InferenceAnswer } from '../contract/answer.js'
import { TurboPiError } from '../errors.js'
import type { Answered, Failed } from '../service/events.js'
import type { RequestTrace } from '../service/request-trace.js'
import { newSpanId, newTraceId, parsedTraceparent, sampledBy, type TraceContext } from './traceparent.js'

/** One span, of whatever exporter. Times are performance.now() milliseconds. */
export interface StageSpan {
  readonly name: string
  readonly context: TraceContext
  readonly parent: TraceContext | undefined
  /** The upgrade of the connection that it came by. */
  readonly link?: TraceContext | undefined
  readonly start: number
  readonly end: number
  readonly attributes: Readonly<Record<string, string | number | boolean>>
  /** What it ended with; a code of src/errors.ts. */
  readonly error?: string
}

/** How spans of one policy are made. */
export interface Sampling {
  policy: string
  /** Share 0…1 of the traces that begin here. A caller's own trace is kept if the caller keeps it. */
  ratio: number
}

const STAGES = ['decode', 'queue', 'vision', 'prefix', 'denoise'] as const

/** The spans of an observation that was answered; none for one that is not sampled. */
export function answeredSpans(event: Answered, sampling: Sampling): StageSpan[] {
  const { answer, at, trace, seq } = event
  const began = at - answer.timing.totalMs
  const start = trace?.receivedAt ?? began
  const end = trace?.sentAt ?? at
  const root = rootOf(event, sampling, start, end, {
    ...(seq !== undefined && { 'turbo_pi.seq': seq }),
    ...(trace?.chunkId !== undefined && { 'turbo_pi.chunk_id': trace.chunkId }),
    'turbo_pi.model': answer.model,
    'turbo_pi.steps': event.sampling.steps,
    'turbo_pi.batch': answer.place.batch,
    'turbo_pi.batch_rows': answer.place.rows,
    ...(answer.place.device !== undefined && { 'turbo_pi.device': answer.place.device }),
    'turbo_pi.coalesced': answer.coalesced,
    'turbo_pi.late': answer.late,
    'turbo_pi.guard_findings': answer.guard.findings.length,
  })
  if (!root) return []
  const stages: [name: string, start: number, end: number][] = []
  if (began > start) stages.push(['receive', start, began])
  if (answer.coalesced) stages.push(['wait for the shared inference', began, at])
  else stages.push(...inferred(answer, began, at))
  if (end > at) stages.push(['send', at, end])
  return [root, ...stages.map(([name, from, to]) => childOf(root, name, from, to))]
}

/**
 * An inference's stages one after the other. Each is as long as it was; queueing, which is done in two or three pieces, stands in
 * one, and what is left until the answer is the work on the actions.
 */
function inferred(
  { timing }: InferenceAnswer,
  began: number,
  ended: number,
): [name: string, start: number, end: number][] {
  let at = began
  const stages = STAGES.map((stage): [string, number, number] => {
    const from = at
    at = Math.min(ended, at + timing[`${stage}Ms`])
    return [stage, from, at]
  })
  return [...stages, ['postprocess', at, ended]]
}

/** The span of an observation that got an error, or whose caller left. */
export function failedSpans(event: Failed, sampling: Sampling): StageSpan[] {
  const { at, trace, error, seq } = event
  const code = error instanceof TurboPiError ? error.code : 'INTERNAL'
  const root = rootOf(event, sampling, trace?.receivedAt ?? at, at, {
    ...(seq !== undefined && { 'turbo_pi.seq': seq }),
    'error.type': code,
  })
  if (!root) return []
  // Callers that go away, or send something newer, are no fault.
  return [code === 'REQUEST_CANCELLED' ? root : { ...root, error: code }]
}

function rootOf(
  { session, robot, trace }: { session: string; robot: string | undefined; trace?: RequestTrace | undefined },
  { policy, ratio }: Sampling,
  start: number,
  end: number,
  attributes: StageSpan['attributes'],
): StageSpan | undefined {
  const given = parsedTraceparent(trace?.traceparent)
  const parent = trace?.connection ? undefined : given
  const traceId = parent?.traceId ?? newTraceId()
  if (!(parent?.sampled ?? sampledBy(traceId, ratio))) return undefined
  return {
    name: 'infer',
    context: { traceId, spanId: newSpanId(), sampled: true },
    parent,
    link: trace?.connection ? given : undefined,
    start,
    end,
    attributes: {
      'turbo_pi.policy': policy,
      'turbo_pi.session': session,
      ...(robot !== undefined && { 'turbo_pi.robot': robot }),
      ...attributes,
    },
  }
}

const childOf = ({ context }: StageSpan, name: string, start: number, end: number): StageSpan => ({
  name,
  context: { ...context, spanId: newSpanId() },
  parent: context,
  start,
  end,
  attributes: {},
})
