import t from 'tap'
import type { InferenceAnswer } from '../../src/contract/answer.js'
import { encodeActions } from '../../src/contract/stream.js'

const ANSWER = {
  actions: Float64Array.of(0),
  horizon: 1,
  actionSize: 1,
  late: false,
  guard: { outOfBounds: 0, clamped: false, bounds: null, findings: [] },
  timing: { decodeMs: 0, queueMs: 0, visionMs: 0, prefixMs: 0, denoiseMs: 0, totalMs: 0 },
} as unknown as InferenceAnswer

const lateOf = (obs_age_ms: number, deadline_ms: number | undefined, late = false): unknown => {
  const envelope = { seq: 0, chunk_id: 0, obs_age_ms, valid_until: null, deadline_ms }
  return JSON.parse(String(encodeActions(envelope, { ...ANSWER, late }, 'json'))).late
}

t.test('an answer that leaves after its deadline is marked as late, however little', t => {
  t.equal(lateOf(99, 100), false)
  t.equal(lateOf(100.1, 100), true, 'it passed since the answer was ready')
  t.equal(lateOf(99, 100, true), true)
  t.equal(lateOf(5000, undefined), false)
  t.end()
})
