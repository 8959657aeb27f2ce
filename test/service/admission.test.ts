import { availableParallelism } from 'node:os'
import t from 'tap'
import type { Observation } from '../../src/contract/observation.js'
import { TurboPiError } from '../../src/errors.js'
import type { Wanted } from '../../src/policy/policy.js'
import { PolicyService } from '../../src/service/service.js'
import { stoppedClock } from '../support/clock.js'
import { fakeObservation, fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime, finishAll, settle } from '../support/fake-runtime.js'

const AT_ONCE = availableParallelism() + 1

/** A service whose preparation waits for the test, which is told of each that begins. */
async function setUp(maxWaiting: number) {
  const runtime = new FakeRuntime({ milliseconds: 0 })
  const policy = fakePolicy()
  const begun: { token: number; wanted: Wanted; finish(): void }[] = []
  let held = false
  const { prepare } = policy
  policy.prepare = async (observation: Observation, wanted?: Wanted) => {
    const token = observation.state['observation/state']![0]!
    if (held) await new Promise<void>(finish => begun.push({ token, wanted: wanted!, finish }))
    wanted?.throwIfAborted()
    return prepare(observation)
  }
  const service = new PolicyService({ policy, runtime: Promise.resolve(runtime), queue: { maxWaiting } })
  await service.start()
  held = true
  policy.prepared = 0
  const tokens = () => begun.map(({ token }) => token)
  const finishPreparing = async () => {
    for (let next = 0; next < begun.length; next += 1) {
      begun[next]!.finish()
      await settle()
    }
  }
  return { runtime, policy, service, begun, tokens, finishPreparing }
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    error => (error instanceof TurboPiError ? error.code : String(error)),
  )

t.test('100 requests at a queue of 1 prepare at most a handful', async t => {
  for (const session of [() => 'one', (token: number) => `robot ${token}`]) {
    const { policy, service, begun, finishPreparing } = await setUp(1)
    const codes = Array.from({ length: 100 }, (_, token) =>
      codeOf(service.infer(fakeObservation(token), {}, { session: session(token) })),
    )
    await settle()
    t.equal(begun.length, 1)
    await finishPreparing()
    const all = await Promise.all(codes)
    t.equal(all.filter(code => code === 'answered').length, 1)
    t.equal(all.filter(code => code === 'OVERLOADED').length, 99)
    t.equal(policy.prepared, 1)
    await service.close()
  }
})

t.test('what is prepared at once is bounded, and sessions take turns', async t => {
  const { service, tokens, finishPreparing } = await setUp(64)
  const flood = Array.from({ length: 20 }, (_, token) =>
    service.infer(fakeObservation(token), {}, { session: 'flood' }),
  )
  await settle()
  const robot = service.infer(fakeObservation(99), {}, { session: 'robot' })
  await settle()
  t.same(
    tokens(),
    Array.from({ length: AT_ONCE }, (_, token) => token),
  )
  await finishPreparing()
  await Promise.all([robot, ...flood])
  t.equal(tokens()[AT_ONCE], 99, 'the robot is next, before what the flood has waiting')
})

t.test('who leaves, is too late, or loses its place while it waits is not prepared', async t => {
  const { service, begun, tokens, finishPreparing } = await setUp(AT_ONCE + 3)
  const held = Array.from({ length: AT_ONCE }, (_, token) =>
    codeOf(service.infer(fakeObservation(token), {}, { session: 'flood' })),
  )
  await settle()
  const gone = new AbortController()
  const session = 'robot'
  const left = codeOf(service.infer(fakeObservation(10), {}, { session, signal: gone.signal }))
  const late = codeOf(service.infer(fakeObservation(11), {}, { session, deadlineMs: 5, acceptsLate: true }))
  const last = codeOf(service.infer(fakeObservation(12), {}, { session }))
  gone.abort()
  t.equal(await left, 'REQUEST_CANCELLED')
  await new Promise(resolve => setTimeout(resolve, 10))
  t.same(begun.length, AT_ONCE)
  await finishPreparing()
  t.equal(await late, 'DEADLINE_EXCEEDED')
  t.equal(await last, 'answered')
  t.same(await Promise.all(held), Array(AT_ONCE).fill('answered'))
  t.notOk(tokens().includes(10) || tokens().includes(11))
})

t.test('preparation under way stops when it is no longer wanted', async t => {
  const { policy, service, begun, finishPreparing } = await setUp(2)
  const pass = stoppedClock(t)
  const gone = new AbortController()
  const left = codeOf(service.infer(fakeObservation(1), {}, { session: 'a', signal: gone.signal }))
  const late = codeOf(
    service.infer(fakeObservation(2), {}, { session: 'a', deadlineMs: 500, acceptsLate: true }),
  )
  await settle()
  for (const { wanted } of begun) t.doesNotThrow(() => wanted.throwIfAborted())
  gone.abort()
  t.throws(() => begun[0]!.wanted.throwIfAborted(), { code: 'REQUEST_CANCELLED' })
  pass(550)
  t.throws(() => begun[1]!.wanted.throwIfAborted(), { code: 'DEADLINE_EXCEEDED' })
  await finishPreparing()
  t.same(await Promise.all([left, late]), ['REQUEST_CANCELLED', 'DEADLINE_EXCEEDED'])
  t.equal(policy.prepared, 0)

  const [first, second] = ['a', 'a'].map((session, token) =>
    codeOf(service.infer(fakeObservation(token), {}, { session })),
  )
  const robot = codeOf(service.infer(fakeObservation(3), {}, { session: 'b' }))
  await finishPreparing()
  t.equal(await second, 'OVERLOADED', 'the longer session gives way to the shorter one')
  t.same(await Promise.all([first, robot]), ['answered', 'answered'])
})

t.test('what cannot be prepared gives back its place and its turn', async t => {
  const runtime = new FakeRuntime({ milliseconds: 0 })
  let broken = false
  const policy = fakePolicy()
  const { prepare } = policy
  policy.prepare = async observation => {
    if (broken) throw new TurboPiError('IMAGE_INVALID', 'no image')
    return prepare(observation)
  }
  const service = new PolicyService({ policy, runtime: Promise.resolve(runtime), queue: { maxWaiting: 1 } })
  await service.start()
  broken = true
  for (let token = 0; token < 2 * AT_ONCE; token += 1)
    t.equal(await codeOf(service.infer(fakeObservation(token), {}, { session: 'a' })), 'IMAGE_INVALID')
  broken = false
  t.equal(await codeOf(service.infer(fakeObservation(1), {}, { session: 'a' })), 'answered')
  await finishAll(runtime)
  await service.close()
})
