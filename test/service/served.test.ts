import t from 'tap'
import type { Policy } from '../../src/policy/policy.js'
import { requireMemoryBeside, weightBytes } from '../../src/runtime/memory.js'
import { Served } from '../../src/service/served.js'
import { PolicyService, type ServiceParts } from '../../src/service/service.js'
import { fakeObservation, fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime, settle, tinyModel } from '../support/fake-runtime.js'
import { until } from '../support/server.js'

const asked = { session: 'robot' }

/** Parts of a policy whose every action is `value`. */
function parts(value: number, overrides: Partial<Policy> = {}) {
  const policy = fakePolicy({
    name: `policy ${value}`,
    finish: () => ({
      actions: new Float64Array(4).fill(value),
      guard: { outOfBounds: 0, clamped: false, bounds: null, findings: [] },
    }),
    ...overrides,
  })
  const runtime = new FakeRuntime({ milliseconds: 0 })
  return { policy, runtime: Promise.resolve(runtime), engine: runtime } satisfies ServiceParts & {
    engine: FakeRuntime
  }
}

async function serve(value = 1) {
  const first = parts(value)
  const served = new Served(new PolicyService(first))
  await served.current.service.start()
  return { first, served }
}

const answerOf = async (served: Served, token = 0) => {
  const { actions } = await served.current.service.infer(fakeObservation(token), {}, asked)
  return actions[0]
}

t.test('the next policy answers once it has passed its self-test, the old one is closed', async t => {
  const { first, served } = await serve()
  t.equal(await answerOf(served), 1)
  await served.swap(parts(2))
  t.equal(await answerOf(served), 2)
  t.ok(first.policy.closed)
  t.ok(first.engine.closed)
})

t.test('what the old policy had accepted is still its own to answer, however long it takes', async t => {
  const { first, served } = await serve()
  first.engine.hold = true
  const accepted = answerOf(served)
  await settle()
  const swapped = served.swap(parts(2))
  await until(() => served.current.service.metadata().policy === 'policy 2', 'the next one serves')
  t.equal(await answerOf(served), 2, 'the next one answers meanwhile')
  t.notOk(first.policy.closed)
  first.engine.open[0]!.finish()
  await settle()
  first.engine.open[0]!.finish()
  t.equal(await accepted, 1)
  await swapped
  t.ok(first.policy.closed)
})

t.test('a policy of other observations or actions is refused by name, unless any shape will do', async t => {
  const { served } = await serve()
  const wider = () => {
    const { spec } = fakePolicy()
    return parts(2, { spec: { ...spec, state: [{ ...spec.state[0]!, size: 7 }] } })
  }
  const refused = wider()
  await t.rejects(served.swap(refused), { code: 'SWAP_REFUSED', message: /other state .*"size":7.*"size":2/ })
  t.ok(refused.policy.closed, 'what was refused is closed')
  await t.rejects(served.swap(parts(2, { actionSize: 3 })), {
    code: 'SWAP_REFUSED',
    message: /other actions/,
  })
  t.equal(await answerOf(served), 1)
  await served.swap(wider(), { anyShape: true })
  t.equal(served.current.service.metadata().observation.state[0]!.size, 7)
})

t.test('a policy that cannot start leaves the one that serves alone', async t => {
  const { served } = await serve()
  const broken = { policy: fakePolicy(), runtime: Promise.reject(new Error('no weights')) }
  await t.rejects(served.swap(broken), { message: 'no weights' })
  t.equal(await answerOf(served), 1)
  t.ok(broken.policy.closed)
})

t.test('one swap at a time; a server that stops meanwhile takes no new policy', async t => {
  const { served } = await serve()
  const slow = parts(2)
  slow.engine.hold = true
  const refused = t.rejects(served.swap(slow), { code: 'SHUTTING_DOWN' })
  await t.rejects(served.swap(parts(3)), { code: 'SWAP_REFUSED' })
  const closing = served.close()
  while (slow.engine.open.length > 0 || !slow.engine.closed) {
    slow.engine.open[0]?.finish()
    await settle()
  }
  await refused
  await closing
  t.ok(slow.policy.closed)
})

t.test('counters go on, listeners follow', async t => {
  const { served } = await serve()
  const watched: number[] = []
  const heard: string[] = []
  served.listen({
    answered: ({ answer }) => {
      watched.push(answer.actions[0]!)
    },
  })
  const stop = served.onSwap(({ service }) => heard.push(service.metadata().policy))
  await answerOf(served)
  await served.swap(parts(2))
  await answerOf(served)
  stop()
  await served.swap(parts(3))
  await answerOf(served)
  await settle()
  t.strictSame(watched, [1, 2, 3])
  t.strictSame(heard, ['policy 2'])
  t.match(await served.metrics.registry.metrics(), /turbo_pi_answers_total 3/)
})

t.test('weights that do not fit beside those loaded are refused before anything is', t => {
  const bytes = weightBytes(tinyModel, 'fp32')
  t.equal(weightBytes(tinyModel, 'bf16'), bytes / 2)
  t.ok(weightBytes(tinyModel, 'int8') < bytes)
  t.doesNotThrow(() => requireMemoryBeside(tinyModel, 'fp32', bytes))
  t.throws(() => requireMemoryBeside(tinyModel, 'fp32', bytes - 1), {
    code: 'SWAP_REFUSED',
    message: /memory/,
  })
  t.end()
})
