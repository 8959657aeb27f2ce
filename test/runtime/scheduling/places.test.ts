import t from 'tap'
import { codeOf, job, setUp } from '../../support/dispatching.js'
import { finishAll } from '../../support/fake-runtime.js'

t.test('a full queue refuses with Retry-After, and takes the place from a flood', async t => {
  const { runtime, dispatcher, drops } = setUp({}, { maxWaiting: 4 })
  const running = dispatcher.submit(job(0, { session: 'flood' }))
  const flood = [1, 2, 3, 4].map(token => codeOf(dispatcher.submit(job(token, { session: 'flood' }))))
  const refused = dispatcher.submit(job(5, { session: 'flood' }))
  await t.rejects(refused, { code: 'OVERLOADED', status: 503, retryAfter: 1 })
  const robot = dispatcher.submit(job(6))
  t.equal(await flood[3], 'OVERLOADED', 'the newest of the flood gave way')
  t.same(drops, ['overloaded', 'overloaded'])
  await finishAll(runtime)
  t.equal((await robot).actions[0], 6)
  t.same(await Promise.all(flood.slice(0, 3)), ['answered', 'answered', 'answered'])
  await running
})

t.test(
  'a session that replaces what it waits with has a place of its own, however many others wait',
  async t => {
    const { runtime, dispatcher, drops } = setUp({}, { maxWaiting: 2, maxReplaceable: 3 })
    const replaceable = (token: number, session: string) =>
      codeOf(dispatcher.submit(job(token, { session, replaceable: true })))
    const running = dispatcher.submit(job(0))
    const others = [1, 2].map(token => dispatcher.submit(job(token)))
    t.equal(await codeOf(dispatcher.submit(job(3))), 'OVERLOADED', 'the shared places are taken')
    const robots = ['a', 'b', 'c'].map((session, at) => replaceable(4 + at, session))
    t.equal(dispatcher.depth, 5)
    t.equal(await replaceable(7, 'a'), 'OVERLOADED', 'a second one of a session shares the rest')
    t.equal(await replaceable(8, 'd'), 'OVERLOADED', 'there are so many such places')
    t.equal(await codeOf(dispatcher.submit(job(9))), 'OVERLOADED', 'robots make no room for others')
    t.same(drops, new Array(4).fill('overloaded'))
    await finishAll(runtime)
    t.same(await Promise.all(robots), ['answered', 'answered', 'answered'])
    await Promise.all([running, ...others])
    t.equal(dispatcher.depth, 0)
  },
)

t.test('a robot that replaces its observation finds its place free again', async t => {
  const { runtime, dispatcher, drops } = setUp({}, { maxWaiting: 1, maxReplaceable: 1 })
  const answers = [dispatcher.submit(job(0)), dispatcher.submit(job(1))]
  const replaced: Promise<string>[] = []
  for (let token = 2; token < 6; token += 1) {
    const newer = new AbortController()
    replaced.push(
      codeOf(dispatcher.submit(job(token, { session: 'robot', replaceable: true }), newer.signal)),
    )
    newer.abort()
  }
  answers.push(dispatcher.submit(job(6, { session: 'robot', replaceable: true })))
  t.same(await Promise.all(replaced), new Array(4).fill('REQUEST_CANCELLED'))
  t.same(drops, new Array(4).fill('cancelled'))
  await finishAll(runtime)
  await Promise.all(answers)
})
