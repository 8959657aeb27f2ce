import t from 'tap'
import { TurboPiError } from '../../src/errors.js'
import type { Answered, Failed } from '../../src/service/events.js'
import { answeredSpans, failedSpans } from '../../src/tracing/spans.js'
import { parsedTraceparent, sampledBy } from '../../src/tracing/traceparent.js'
import { fakeObservation } from '../support/fake-policy.js'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'
const ALL = { policy: 'arm', ratio: 1 }

const answered = (change: Partial<Answered> = {}, coalesced = false) =>
  ({
    session: 's',
    robot: 'arm-1',
    seq: 4,
    at: 1000,
    observation: fakeObservation(1),
    sampling: { steps: 10, noise: 0 },
    answer: {
      coalesced,
      late: false,
      guard: { findings: [] },
      model: 'm',
      place: { batch: 3, row: 0, rows: 2 },
      timing: { decodeMs: 5, queueMs: 20, visionMs: 10, prefixMs: 15, denoiseMs: 40, totalMs: 100 },
    },
    ...change,
  }) as unknown as Answered

t.test('an answer is drawn as the stages that it went through, end to end', t => {
  const spans = answeredSpans(answered({ trace: { receivedAt: 898, sentAt: 1003, chunkId: 7 } }), ALL)
  const [root, ...stages] = spans
  t.match(root, { name: 'infer', start: 898, end: 1003, parent: undefined })
  t.match(root!.attributes, {
    'turbo_pi.policy': 'arm',
    'turbo_pi.robot': 'arm-1',
    'turbo_pi.session': 's',
    'turbo_pi.seq': 4,
    'turbo_pi.chunk_id': 7,
    'turbo_pi.batch_rows': 2,
  })
  t.strictSame(
    stages.map(({ name, start, end }) => [name, start, end]),
    [
      ['receive', 898, 900],
      ['decode', 900, 905],
      ['queue', 905, 925],
      ['vision', 925, 935],
      ['prefix', 935, 950],
      ['denoise', 950, 990],
      ['postprocess', 990, 1000],
      ['send', 1000, 1003],
    ],
  )
  for (const { context, parent } of stages) {
    t.equal(context.traceId, root!.context.traceId)
    t.equal(parent, root!.context)
  }
  t.equal(new Set(spans.map(({ context }) => context.spanId)).size, spans.length)
  t.end()
})

t.test('who shares an inference is drawn as waiting for it', t => {
  const names = answeredSpans(answered({}, true), ALL).map(({ name }) => name)
  t.strictSame(names, ['infer', 'wait for the shared inference'])
  t.end()
})

t.test("a request goes on with its caller's trace, and is sampled as that says, whatever the ratio", t => {
  const trace = (flags: string) => ({ traceparent: `00-${TRACE}-${PARENT}-${flags}`, receivedAt: 890 })
  const [root] = answeredSpans(answered({ trace: trace('01') }), { ...ALL, ratio: 0 })
  t.match(root, { context: { traceId: TRACE }, parent: { spanId: PARENT } })
  t.strictSame(answeredSpans(answered({ trace: trace('00') }), ALL), [])
  t.end()
})

t.test('each observation of a connection is a trace of its own, linked to the upgrade', t => {
  const trace = { traceparent: `00-${TRACE}-${PARENT}-01`, connection: true, receivedAt: 890 }
  const roots = [0, 1].map(() => answeredSpans(answered({ trace }), ALL)[0]!)
  for (const { context, parent, link } of roots) {
    t.not(context.traceId, TRACE)
    t.equal(parent, undefined)
    t.match(link, { traceId: TRACE, spanId: PARENT })
  }
  t.not(roots[0]!.context.traceId, roots[1]!.context.traceId)
  t.end()
})

t.test('an error names its code; a caller that left is none', t => {
  const failed = (code: 'OVERLOADED' | 'REQUEST_CANCELLED') =>
    failedSpans(
      {
        session: 's',
        robot: undefined,
        at: 9,
        seq: 1,
        observation: fakeObservation(1),
        error: new TurboPiError(code, 'so'),
      } as Failed,
      ALL,
    )
  t.match(failed('OVERLOADED'), [{ error: 'OVERLOADED', attributes: { 'error.type': 'OVERLOADED' } }])
  t.equal(failed('REQUEST_CANCELLED')[0]!.error, undefined)
  t.end()
})

t.test('the ratio keeps so many traces, and every server the same ones', t => {
  const ids = Array.from({ length: 4000 }, () =>
    Array.from({ length: 32 }, () => Math.floor(Math.random() * 16).toString(16)).join(''),
  )
  const kept = ids.filter(id => sampledBy(id, 0.25)).length / ids.length
  t.ok(Math.abs(kept - 0.25) < 0.05, `${kept}`)
  t.ok(ids.every(id => sampledBy(id, 1) && !sampledBy(id, 0)))
  t.ok(ids.filter(id => sampledBy(id, 0.1)).every(id => sampledBy(id, 0.25)))
  t.end()
})

t.test('what is no traceparent is ignored, as the standard says', t => {
  for (const header of [undefined, '', 'so', `ff-${TRACE}-${PARENT}-01`, `00-${'0'.repeat(32)}-${PARENT}-01`])
    t.equal(parsedTraceparent(header), undefined)
  t.match(parsedTraceparent(`00-${TRACE}-${PARENT}-00`), { sampled: false })
  t.end()
})
