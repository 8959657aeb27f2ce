import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { TurboPiError } from '../../../src/errors.js'
import { Dispatcher } from '../../../src/runtime/scheduling/dispatcher.js'
import { EngineWatch } from '../../../src/runtime/scheduling/engine-watch.js'
import { FakeRuntime, finishAll, settle } from '../../support/fake-runtime.js'
import { until } from '../../support/server.js'

/** Calls hang after 200 ms, or 20 times the time of recent ones. */
const watch = { atLeastMs: 200, firstMs: 200 }

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    error => (error instanceof TurboPiError ? error.code : String(error)),
  )

function setUp(runtime: FakeRuntime) {
  const told: string[] = []
  const dispatcher = new Dispatcher(runtime, {
    watch,
    drainMs: 20,
    observer: { hung: error => told.push(error.code), recovered: () => told.push('recovered') },
  })
  const ask = (session: string) => {
    const ticket = dispatcher.admit({ session })
    const row = { images: [null], tokens: Int32Array.of(1) }
    return dispatcher.submit(ticket, row, { noise: new Float32Array(6), steps: 2 })
  }
  return { dispatcher, told, ask }
}

t.test('a call that does not return: all who wait are told, and nobody else is let in', async t => {
  const runtime = new FakeRuntime()
  const { dispatcher, told, ask } = setUp(runtime)
  const codes = [ask('a'), ask('b'), ask('c')].map(codeOf)
  t.same(await Promise.all(codes), ['ENGINE_HUNG', 'ENGINE_HUNG', 'ENGINE_HUNG'])
  t.match(dispatcher.fault?.message, /has not come back from a call \(perceive\) for \d+\.\d s/)
  t.throws(() => dispatcher.admit({ session: 'd' }), { code: 'ENGINE_HUNG' })
  t.same(told, ['ENGINE_HUNG'])

  await finishAll(runtime)
  t.equal(dispatcher.fault, undefined, 'a call that comes back late after all makes it well')
  t.same(told, ['ENGINE_HUNG', 'recovered'])
  const answer = ask('a')
  await finishAll(runtime)
  t.equal(await codeOf(answer), 'answered')
})

t.test('another engine takes the place of one that hangs', async t => {
  class Renewed extends FakeRuntime {
    lanes: string[] = []
    ready!: () => void
    renew(lane: string): Promise<void> {
      this.lanes.push(lane)
      for (const call of this.open) call.fail(new TurboPiError('RUNTIME_FAILED', 'given up'))
      return new Promise(resolve => {
        this.ready = resolve
      })
    }
  }
  const runtime = new Renewed()
  const { dispatcher, ask } = setUp(runtime)
  t.equal(await codeOf(ask('a')), 'ENGINE_HUNG')
  t.same(runtime.lanes, ['perceive'])
  await settle()
  t.ok(dispatcher.fault, 'not before it is loaded')
  runtime.ready()
  await settle()
  t.equal(dispatcher.fault, undefined)
  const answer = ask('a')
  await finishAll(runtime)
  t.equal(await codeOf(answer), 'answered')
})

t.test('an engine that cannot be replaced says why, and closing does not wait for it', async t => {
  class Unrenewable extends FakeRuntime {
    async renew(): Promise<void> {
      throw new TurboPiError('ENGINE_HUNG', 'No memory for another one.')
    }
    override close(): Promise<void> {
      return new Promise(() => {})
    }
  }
  const { dispatcher, ask } = setUp(new Unrenewable())
  t.equal(await codeOf(ask('a')), 'ENGINE_HUNG')
  await settle()
  t.match(dispatcher.fault?.message, /No memory for another one\.$/)
  await t.rejects(dispatcher.close(), { code: 'ENGINE_HUNG' })
})

t.test('what counts as hung goes by the time of recent calls and by how much there is to do', async t => {
  const hung: string[] = []
  const engine = new EngineWatch(
    { atLeastMs: 10, firstMs: 5000 },
    { hung: lane => hung.push(lane), returned() {} },
  )
  await engine.call('act', 1, () => sleep(30))
  t.same(hung, [], 'the first call may take long: it loads')
  await engine.call('act', 2, () => sleep(300))
  t.same(hung, [], 'twenty times the recent time, twice as much work')
  let comeBack = () => {}
  const away = new Promise<void>(resolve => {
    comeBack = resolve
  })
  t.equal(await codeOf(engine.call('act', 1e-6, () => away)), 'ENGINE_HUNG')
  t.ok(engine.waiting)
  comeBack()
  await until(() => !engine.waiting, 'it has come back')
  await codeOf(engine.call('act', 1, () => Promise.reject(new Error('lost'))))
  await engine.call('act', 0.01, () => sleep(300))
  t.same(hung, ['act'], 'after a failure it may have to load anew')
})
