import t from 'tap'
import type { RtcOptions, ServedChunk } from '../../src/contract/rtc.js'
import { sameSampling } from '../../src/families/pi0/sampling.js'
import { continued } from '../../src/service/continuation.js'
import { PolicyService } from '../../src/service/service.js'
import { fakeObservation, fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime, finishAll, settle, tinyModel } from '../support/fake-runtime.js'

const observation = fakeObservation(1)
const rows = { rows: Float64Array.of(1, 2) }
const served: ServedChunk = {
  actions: Float32Array.of(1, 2, 3, 4, 5, 6),
  state: Float64Array.of(0, 0),
  prompt: observation.prompt,
  rows: Float64Array.of(1, 2, 4, 5),
}
const ask = (rtc: Partial<RtcOptions> = {}, steps = 10, model = tinyModel) =>
  continued(
    fakePolicy({ model }),
    observation,
    { mode: 'guided', previous: rows, inferenceDelay: 1, ...rtc },
    steps,
  )
const rounded = (values: Float32Array) => [...values].map(value => Math.round(value * 1000) / 1000)

t.test('guidance', async t => {
  const { continuation, report } = ask()
  t.match(continuation, { mode: 'guided', inferenceDelay: 1, schedule: 'linear', maxGuidanceWeight: 10 })
  t.same(rounded(continuation!.previous), [1, 2, 0], 'normalised and padded')
  t.strictSame(report, {
    mode: 'guided',
    dropped: null,
    rows: 1,
    inferenceDelay: 1,
    executionHorizon: 1,
    maxGuidanceWeight: 10,
    capped: false,
  })
  t.match(ask({ maxGuidanceWeight: 7 }, 5).report, { maxGuidanceWeight: 5, capped: true })
  t.match(ask({ maxGuidanceWeight: 7 }, 5).continuation, { maxGuidanceWeight: 5 })
  t.match(ask({}, 3).report, { maxGuidanceWeight: 3, capped: true }, 'the default is capped, too')
  t.match(ask({ maxGuidanceWeight: 3 }, 3).report, { maxGuidanceWeight: 3, capped: false })
  t.equal(ask({ executionHorizon: 0 }).report.executionHorizon, 0)
})

t.test('a kept chunk', async t => {
  const { continuation, report } = ask({ previous: { served, consumed: 1 } })
  t.same([...continuation!.previous], [4, 5, 0], 'without its executed rows, and with zeros in the padding')
  t.match(report, { dropped: null, rows: 1 })
  for (const [previous, dropped] of [
    [{ served, consumed: 2 }, 'consumed'],
    [{ served, consumed: 9 }, 'consumed'],
    [{ served: { ...served, prompt: 'something else' }, consumed: 1 }, 'prompt'],
  ] as const) {
    const answer = ask({ previous })
    t.strictSame([answer.continuation, answer.report.dropped, answer.report.rows], [undefined, dropped, 0])
  }
  t.throws(() => ask({ previous: { chunkId: 3, consumed: 1 } }), {
    code: 'OPTIONS_INVALID',
    message: /previous_chunk_id names a chunk of a WS \/stream connection; send previous_chunk/,
  })
})

t.test('given rows', async t => {
  const trained = { ...tinyModel, actionHorizon: 4, trainedDelay: 2 }
  const rtc = { mode: 'trained', previous: { rows: Float64Array.of(1, 2, 3, 4, 5, 6) } } as const
  const { continuation, report } = ask({ ...rtc, inferenceDelay: 2 }, 5, trained)
  t.match(continuation, { mode: 'trained', inferenceDelay: 2 })
  t.match(report, {
    mode: 'trained',
    rows: 3,
    executionHorizon: null,
    maxGuidanceWeight: null,
    capped: false,
  })
  t.throws(() => ask(rtc), {
    code: 'OPTIONS_INVALID',
    message: /mode is trained, but this checkpoint was not trained to be given rows/,
    fields: [{ pointer: '/options/rtc/mode' }],
  })
  t.throws(
    () => ask({ ...rtc, previous: { served: { ...served, prompt: 'other' }, consumed: 0 } }),
    { code: 'OPTIONS_INVALID' },
    'also when the chunk would be dropped',
  )
  t.throws(() => ask({ ...rtc, inferenceDelay: 3 }, 5, trained), { message: /must be at most 2/ })
  t.throws(() => ask({ ...rtc, previous: rows, inferenceDelay: 2 }, 5, trained), {
    message: /only 1 rows of the previous chunk are left/,
  })
  t.throws(() => ask({ ...rtc, inferenceDelay: 4 }, 5, { ...trained, trainedDelay: 9 }), {
    message: /less than the horizon of 4 rows/,
  })
})

t.test('callers share an inference only when they continue the same chunk alike', async t => {
  const sampling = (rtc: Partial<RtcOptions>) => ({ steps: 2, continuation: ask(rtc).continuation! })
  t.ok(sameSampling(sampling({}), sampling({})))
  t.ok(sameSampling(sampling({ maxGuidanceWeight: 10 }), sampling({})), 'what is left open is filled in')
  for (const other of [
    { inferenceDelay: 0 },
    { schedule: 'exp' as const },
    { maxGuidanceWeight: 1 },
    { previous: { rows: Float64Array.of(1, 3) } },
    { previous: { rows: Float64Array.of(1, 2, 1, 2) } },
  ])
    t.notOk(sameSampling(sampling(other), sampling({})), JSON.stringify(other))
  t.notOk(sameSampling({ steps: 2 }, sampling({})))
})

t.test('through the service', async t => {
  const runtime = new FakeRuntime()
  const service = new PolicyService({ policy: fakePolicy(), runtime: Promise.resolve(runtime) })
  const starting = service.start()
  await finishAll(runtime)
  await starting
  runtime.samplings.length = 0
  const rtc: RtcOptions = { mode: 'guided', previous: rows, inferenceDelay: 1 }
  const caller = { session: 'a' }
  const plain = service.infer(observation, { noise: 1 }, caller)
  const guided = service.infer(observation, { noise: 1, rtc }, caller)
  const again = service.infer(observation, { noise: 1, rtc }, caller)
  await settle()
  await finishAll(runtime)
  t.strictSame((await plain).rtc, null)
  t.match((await guided).rtc, { mode: 'guided', rows: 1, maxGuidanceWeight: 2, capped: true })
  t.match(await again, { coalesced: true, rtc: { capped: true } })
  t.match(
    runtime.samplings.map(([row]) => row?.continuation?.mode),
    [undefined, 'guided'],
  )
  const { served: kept } = await plain
  t.strictSame([kept.actions.length, [...kept.state], kept.prompt], [6, [1, 0], 'do it'])
  await t.rejects(service.infer(observation, { rtc: { ...rtc, mode: 'trained' } }, caller), {
    code: 'OPTIONS_INVALID',
  })
  await service.close()
})
