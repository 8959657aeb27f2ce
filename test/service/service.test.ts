import t from 'tap'
import type { Observation } from '../../src/contract/observation.js'
import type { SamplingOptions } from '../../src/contract/sampling.js'
import { TurboPiError } from '../../src/errors.js'
import { GuardRefusal } from '../../src/policy/guard/refusal.js'
import type { Policy } from '../../src/policy/policy.js'
import type { Caller } from '../../src/service/inference.js'
import { inferenceKey, isSameInference } from '../../src/service/same-inference.js'
import { PolicyService } from '../../src/service/service.js'
import { stoppedClock } from '../support/clock.js'
import { FAKE_MODEL, fakeObservation, fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime, type FakeRuntimeOptions, finishAll, settle } from '../support/fake-runtime.js'

/** Noise that is the seed itself, so an answer shows its seed. */
async function setUp(runtimeOptions: FakeRuntimeOptions = {}, overrides: Partial<Policy> = {}) {
  const runtime = new FakeRuntime(runtimeOptions)
  const policy = fakePolicy(overrides)
  const service = new PolicyService({ policy, runtime: Promise.resolve(runtime) })
  const starting = service.start()
  await finishAll(runtime)
  await starting
  policy.prepared = 0
  runtime.calls.length = 0
  const infer = (observation: Observation, sampling: SamplingOptions = {}, caller: Partial<Caller> = {}) =>
    service.infer(observation, sampling, { session: 'test', ...caller })
  return { runtime, policy, service, infer }
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    error => (error instanceof TurboPiError ? error.code : String(error)),
  )

/** Of what has been told: events are told once the answers have left. */
async function metricOf(service: PolicyService, line: string): Promise<string | undefined> {
  service.events.flush()
  return (await service.metrics.registry.metrics()).split('\n').find(text => text.startsWith(`${line} `))
}

t.test('ready between self-test and close', async t => {
  const runtime = new FakeRuntime()
  const policy = fakePolicy()
  const service = new PolicyService({ policy, runtime: Promise.resolve(runtime) })
  const infer = () => service.infer(fakeObservation(1), { noise: 9 }, { session: 'a' })
  const starting = service.start()
  t.notOk(service.ready)
  await t.rejects(infer(), { code: 'NOT_READY' })
  await finishAll(runtime)
  await starting
  t.ok(service.ready)
  t.match(service.metadata(), {
    policy: 'fake',
    shape: { horizon: 2, actionDim: 3, actionSize: 2 },
    defaultSteps: 2,
    model: FAKE_MODEL,
    runtime: { backend: 'cpu', weights: 'test' },
    openpi: { reset_pose: [0, 1] },
  })
  t.equal(service.start(), starting, 'a second start is the first one')
  const accepted = infer()
  const closing = service.close()
  t.notOk(service.ready)
  await t.rejects(infer(), { code: 'SHUTTING_DOWN' })
  await finishAll(runtime)
  await closing
  t.equal((await accepted).actions[0], 10, 'accepted work is finished, even if it was still being prepared')
  t.ok(runtime.closed && policy.closed)
})

t.test('the self-test', async t => {
  const broken = new FakeRuntime()
  const service = new PolicyService({ policy: fakePolicy(), runtime: Promise.resolve(broken) })
  const starting = codeOf(service.start())
  await settle()
  broken.open[0]?.fail(new Error('no engine'))
  t.equal(await starting, 'RUNTIME_FAILED')
  t.notOk(service.ready, 'a failed self-test leaves the service not ready')
  const { service: guarded } = await setUp(
    {},
    {
      finish: () => {
        const finding = { kind: 'action_bounds', joint: 'lift', row: 0, value: 9, limit: 1 } as const
        throw new GuardRefusal('ACTIONS_OUT_OF_BOUNDS', finding, 'too far')
      },
    },
  )
  t.ok(guarded.ready, 'a guard that refuses what the policy makes of a grey picture is no fault')
})

t.test('an answer', async t => {
  const { runtime, infer, service } = await setUp()
  const answering = infer(fakeObservation(7), { noise: 3, steps: 4 })
  await finishAll(runtime)
  const answer = await answering
  t.same([...answer.actions], [10, 10, 10, 10])
  t.match(answer, {
    horizon: 2,
    actionSize: 2,
    seed: 3,
    coalesced: false,
    late: false,
    truncated: false,
    guard: { outOfBounds: 0 },
    timing: { decodeMs: 0.75, visionMs: 1, prefixMs: 2, denoiseMs: 4 },
  })
  t.ok(answer.timing.totalMs >= answer.timing.queueMs)
  t.equal(await metricOf(service, 'turbo_pi_answers_total'), 'turbo_pi_answers_total 1')
})

t.test('the seed of an answer is that of its noise, also when the caller gave none', async t => {
  const runtime = new FakeRuntime({ milliseconds: 0 })
  const service = new PolicyService({
    policy: fakePolicy(),
    runtime: Promise.resolve(runtime),
    drawSeed: () => 5,
  })
  await service.start()
  const answer = (sampling: SamplingOptions) => service.infer(fakeObservation(1), sampling, { session: 'a' })
  t.match(await answer({}), { seed: 5, actions: Float64Array.of(6, 6, 6, 6) })
  t.match(await answer({ noise: 2 }), { seed: 2, actions: Float64Array.of(3, 3, 3, 3) })
})

t.test('noise of the caller', async t => {
  const { runtime, infer } = await setUp()
  const answering = infer(fakeObservation(1), { noise: Float32Array.of(1, 2, 3, 4, 5, 6) })
  await finishAll(runtime)
  t.equal((await answering).seed, null)
  t.same([...(await answering).actions], [2, 3, 4, 5])
})

t.test('32 callers with the same observation: one inference, 32 bit-identical answers', async t => {
  const { runtime, policy, infer, service } = await setUp({ maxBatch: 8 })
  const answering = Array.from({ length: 32 }, (_, robot) =>
    infer(fakeObservation(5), {}, { session: `robot ${robot}` }),
  )
  await finishAll(runtime)
  const answers = await Promise.all(answering)
  t.equal(policy.prepared, 1)
  t.equal(runtime.calls.length, 2)
  t.equal(answers.filter(answer => answer.coalesced).length, 31)
  t.equal(new Set(answers.map(answer => Buffer.from(answer.actions.buffer).toString('hex'))).size, 1)
  t.equal(new Set(answers.map(answer => answer.seed)).size, 1)
  t.equal(await metricOf(service, 'turbo_pi_coalesced_total'), 'turbo_pi_coalesced_total 31')
  const later = infer(fakeObservation(5))
  await finishAll(runtime)
  t.notOk((await later).coalesced, 'only work in flight is shared')
})

t.test('requests that mean the same share one inference', async t => {
  const { runtime, policy, infer } = await setUp({ maxBatch: 8 })
  const { prompt: _, ...silent } = fakeObservation(1)
  const noise = new Float32Array(6)
  const answers = Promise.all([
    infer(fakeObservation(1)),
    infer(fakeObservation(1), { steps: policy.defaultSteps }),
    infer(silent),
    infer(silent, { steps: policy.defaultSteps }),
    infer(fakeObservation(1), { noise }),
    infer(silent, { noise: noise.slice() }),
  ])
  await finishAll(runtime)
  t.same(
    (await answers).map(answer => answer.coalesced),
    [false, true, true, true, false, true],
  )
  t.equal(policy.prepared, 2)
})

t.test('different inferences never share', async t => {
  const { runtime, policy, infer } = await setUp({ maxBatch: 16 })
  const noise = new Float32Array(6)
  const answers = Promise.all([
    infer(fakeObservation(1)),
    infer(fakeObservation(2)),
    infer(fakeObservation(1, 1)),
    infer({ ...fakeObservation(1), prompt: 'do that' }),
    infer(fakeObservation(1), { noise: 1 }),
    infer(fakeObservation(1), { noise: 2 }),
    infer(fakeObservation(1), { steps: 3 }),
    infer(fakeObservation(1), { noise }),
    infer(fakeObservation(1), { noise: noise.with(5, 1) }),
  ])
  await finishAll(runtime)
  t.same(
    (await answers).map(answer => answer.coalesced),
    Array(9).fill(false),
  )
  t.equal(policy.prepared, 9)
})

t.test('equality is exact, the key only a hint', t => {
  const request = (observation: Observation) => ({ observation, sampling: { steps: 2 } })
  const encoded = (...bytes: number[]): Observation => ({
    ...fakeObservation(1),
    images: { 'observation/image': { kind: 'encoded', bytes: Uint8Array.from(bytes) } },
  })
  const frame = (at: number): Observation => {
    const data = new Uint8Array(48)
    data[at] = 1
    return {
      ...fakeObservation(1),
      images: { 'observation/image': { kind: 'array', dtype: 'uint8', shape: [4, 4, 3], data } },
    }
  }
  const reshaped: Observation = {
    ...fakeObservation(1),
    images: {
      'observation/image': { kind: 'array', dtype: 'uint8', shape: [2, 8, 3], data: new Uint8Array(48) },
    },
  }
  t.equal(inferenceKey(request(frame(1))), inferenceKey(request(frame(2))), 'neither byte is sampled')
  t.notOk(isSameInference(request(frame(1)), request(frame(2))))
  t.ok(isSameInference(request(frame(1)), request(frame(1))))
  t.notOk(isSameInference(request(fakeObservation(1)), request(reshaped)))
  t.notOk(isSameInference(request(encoded(1)), request(fakeObservation(1))))
  t.notOk(isSameInference(request(encoded(1)), request(encoded(2))))
  t.notOk(isSameInference(request(encoded(1)), request({ ...encoded(1), images: {} })))
  t.ok(isSameInference(request(encoded(1, 2)), request(encoded(1, 2))))
  const unaligned = new Uint8Array(64).subarray(3, 51)
  t.ok(
    isSameInference(
      request(fakeObservation(1)),
      request({
        ...fakeObservation(1),
        images: { 'observation/image': { kind: 'array', dtype: 'uint8', shape: [4, 4, 3], data: unaligned } },
      }),
    ),
    'where the bytes lie does not matter',
  )
  t.end()
})

t.test('who leaves does not cancel it for the others; the last one does', async t => {
  const { runtime, infer } = await setUp()
  const [a, b] = [new AbortController(), new AbortController()]
  const first = codeOf(infer(fakeObservation(1), {}, { signal: a.signal }))
  const second = codeOf(infer(fakeObservation(1), {}, { signal: b.signal }))
  const timed = codeOf(infer(fakeObservation(1), {}, { deadlineMs: 20 }))
  await settle()
  a.abort()
  t.equal(await first, 'REQUEST_CANCELLED', 'the leader may go')
  t.equal(await timed, 'DEADLINE_EXCEEDED')
  t.notOk(runtime.open[0]?.signal?.aborted)
  b.abort()
  t.equal(await second, 'REQUEST_CANCELLED')
  t.ok(runtime.calls[0]?.signal?.aborted)
  const next = infer(fakeObservation(1))
  await finishAll(runtime)
  t.notOk((await next).coalesced, 'nobody joins a cancelled inference')
  t.equal(await codeOf(infer(fakeObservation(1), {}, { signal: AbortSignal.abort() })), 'REQUEST_CANCELLED')
})

t.test('what one caller would replace is not replaceable while another waits for it', async t => {
  const { runtime, infer } = await setUp()
  const busy = infer(fakeObservation(0))
  await settle()
  const robot = (value: number) =>
    infer(fakeObservation(value), {}, { session: `robot ${value}`, replaceable: true })
  const older = robot(2)
  await settle()
  const fresher = robot(1)
  await settle()
  const strict = infer(fakeObservation(1))
  const order: string[] = []
  await Promise.all([
    older.then(() => order.push('older')),
    fresher.then(() => order.push('fresher')),
    finishAll(runtime),
  ])
  t.same(order, ['older', 'fresher'])
  t.ok((await strict).coalesced)
  await busy
})

t.test('an error reaches all who share', async t => {
  const { runtime, infer, service } = await setUp()
  const all = Array.from({ length: 3 }, () => codeOf(infer(fakeObservation(1))))
  await settle()
  runtime.open[0]?.fail(new Error('gone'))
  t.same(await Promise.all(all), ['RUNTIME_FAILED', 'RUNTIME_FAILED', 'RUNTIME_FAILED'])
  const line = 'turbo_pi_errors_total{code="RUNTIME_FAILED"}'
  t.equal(await metricOf(service, line), `${line} 3`)
})

t.test('deadlines', async t => {
  const { runtime, infer, service } = await setUp()
  const blocker = infer(fakeObservation(1))
  const hasty = codeOf(infer(fakeObservation(2), {}, { deadlineMs: 10 }))
  const patient = infer(fakeObservation(3), {}, { deadlineMs: 10 })
  const joined = infer(fakeObservation(3), {}, { deadlineMs: 60_000 })
  const lateButTaken = infer(fakeObservation(4), {}, { deadlineMs: 30, acceptsLate: true })
  const patientCode = codeOf(patient)
  t.equal(await hasty, 'DEADLINE_EXCEEDED', 'refused at the deadline, though the engine is busy')
  t.equal(await patientCode, 'DEADLINE_EXCEEDED')
  await new Promise(resolve => setTimeout(resolve, 40))
  const lateCode = codeOf(lateButTaken)
  await finishAll(runtime)
  t.equal((await joined).late, false, 'the later deadline of the two kept the work alive')
  t.equal(await lateCode, 'DEADLINE_EXCEEDED', 'late is not for work that did not start')
  await blocker
  const line = 'turbo_pi_dropped_total{reason="expired"}'
  t.equal(await metricOf(service, line), `${line} 2`)

  const pass = stoppedClock(t)
  const started = infer(fakeObservation(5), {}, { deadlineMs: 500, acceptsLate: true })
  await settle()
  pass(520)
  await finishAll(runtime)
  t.equal((await started).late, true, 'started in time, answered late, marked so')
})
