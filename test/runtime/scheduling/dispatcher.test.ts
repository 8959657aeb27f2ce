import t from 'tap'
import { TurboPiError } from '../../../src/errors.js'
import { codeOf, job, setUp } from '../../support/dispatching.js'
import { finishAll, settle } from '../../support/fake-runtime.js'

t.test('an answer is the job’s own, with its timing', async t => {
  const { runtime, dispatcher } = setUp()
  const answer = dispatcher.submit(job(7))
  await finishAll(runtime)
  const { actions, timing } = await answer
  t.same([...actions], [7, 7, 7, 7, 7, 7])
  t.match(timing, { visionMs: 1, prefixMs: 2, denoiseMs: 2, batch: 1 })
  t.ok(timing.queueMs >= 0)
  t.equal(runtime.prefixes, 0, 'the prefix was released')
})

t.test('what waits while the engine is busy forms the next batch, equal steps only', async t => {
  const { runtime, dispatcher, batches, order, depths } = setUp({ maxBatch: 4 })
  const answers = [
    dispatcher.submit(job(1)),
    dispatcher.submit(job(2)),
    dispatcher.submit(job(3, { steps: 5 })),
    dispatcher.submit(job(4)),
    dispatcher.submit(job(5)),
    dispatcher.submit(job(6)),
    dispatcher.submit(job(7)),
  ]
  t.same(order(), [[1]], 'the first starts at once')
  t.equal(dispatcher.depth, 6)
  await finishAll(runtime)
  const results = await Promise.all(answers)
  t.same(
    results.map(result => result.actions[5]),
    [1, 2, 3, 4, 5, 6, 7],
  )
  t.same(order(), [[1], [2, 4, 5, 6], [3], [7]])
  t.same(batches, [1, 4, 1, 1])
  t.equal(results[1]?.timing.batch, 4)
  t.equal(Math.max(...depths), 6)
  t.equal(depths.at(-1), 0)
})

t.test('earliest deadline first, those without one last, then in order of arrival', async t => {
  const { runtime, dispatcher, order } = setUp()
  const soon = performance.now() + 60_000
  const answers = [
    dispatcher.submit(job(1)),
    dispatcher.submit(job(2)),
    dispatcher.submit(job(3, { deadline: soon + 300 })),
    dispatcher.submit(job(4, { deadline: soon + 100 })),
    dispatcher.submit(job(5)),
    dispatcher.submit(job(6, { deadline: soon + 100, session: 'robot 4' })),
    dispatcher.submit(job(7, { deadline: soon, session: 'robot 4' })),
  ]
  await finishAll(runtime)
  await Promise.all(answers)
  // Robot 4 is served once a round, its most urgent job first.
  t.same(order().flat(), [1, 7, 3, 2, 5, 4, 6])
})

t.test('between equals, what has waited longest', async t => {
  const { runtime, dispatcher, order } = setUp()
  const answers = [1, 2, 3].map(token => dispatcher.submit(job(token)))
  await finishAll(runtime)
  // All three have been served as often; their sessions are known in the order 1, 2, 3.
  runtime.hold = true
  answers.push(...[0, 3, 1, 2].map(token => dispatcher.submit(job(token))))
  runtime.hold = false
  await finishAll(runtime)
  await Promise.all(answers)
  t.same(order().flat(), [1, 2, 3, 0, 3, 1, 2])
})

t.test('of what a newer observation will replace, the freshest, once a round', async t => {
  const { runtime, dispatcher, order } = setUp()
  const replaceable = (token: number) => job(token, { replaceable: true })
  const answers = [dispatcher.submit(job(0))]
  for (const next of [replaceable(1), replaceable(2), job(3), replaceable(4), job(5)]) {
    await settle()
    answers.push(dispatcher.submit(next))
  }
  answers.push(dispatcher.submit(job(6, { replaceable: true, session: 'robot 4' })))
  await finishAll(runtime)
  await Promise.all(answers)
  t.same(order().flat().slice(0, 6), [0, 6, 2, 1, 3, 5])
  t.same(order().flat().slice(6), [4], 'robot 4 has had its turn')
})

t.test('callers that come anew for each request do not keep a robot waiting', async t => {
  const { runtime, dispatcher, order } = setUp()
  const answers = [dispatcher.submit(job(0)), dispatcher.submit(job(1, { replaceable: true }))]
  for (let stranger = 2; stranger < 8; stranger += 1) {
    answers.push(dispatcher.submit(job(stranger)))
    runtime.open[0]?.finish()
    await settle()
  }
  await finishAll(runtime)
  await Promise.all(answers)
  t.equal(order().flat()[1], 1)
})

t.test('a flood starves nobody', async t => {
  const { runtime, dispatcher, order } = setUp({}, { maxWaiting: 500 })
  const flood = Array.from({ length: 200 }, () => dispatcher.submit(job(0, { session: 'flood' })))
  await settle()
  const answered = new Map<number, number>()
  let left = 40
  /** Four robots, each with one request at a time. */
  const robot = async (token: number) => {
    while (left > 0) {
      await dispatcher.submit(job(token))
      answered.set(token, (answered.get(token) ?? 0) + 1)
      left -= 1
    }
  }
  const robots = [1, 2, 3, 4].map(robot)
  await finishAll(runtime)
  await Promise.all([...robots, ...flood])
  for (const token of [1, 2, 3, 4])
    t.ok(Math.abs(answered.get(token)! - 10) <= 2, `robot ${token}: 10 ± 20 %`)
  const whileRobotsAsked = order().flat().slice(0, 51)
  t.ok(whileRobotsAsked.filter(token => token === 0).length <= 13, 'the flood has a fifth of the turns')
})

t.test('a robot that replaces its waiting job keeps its turn', async t => {
  const { runtime, dispatcher, order } = setUp()
  const answers = [dispatcher.submit(job(1, { session: 'a' })), dispatcher.submit(job(2, { session: 'a' }))]
  const old = new AbortController()
  const replaced = codeOf(dispatcher.submit(job(3, { session: 'b' }), old.signal))
  answers.push(dispatcher.submit(job(4, { session: 'a' })))
  old.abort()
  answers.push(dispatcher.submit(job(5, { session: 'b' })))
  t.equal(await replaced, 'REQUEST_CANCELLED')
  await finishAll(runtime)
  await Promise.all(answers)
  t.same(order().flat(), [1, 5, 2, 4])
})

t.test('work past its deadline is not started', async t => {
  const { runtime, dispatcher, drops, order } = setUp()
  const running = dispatcher.submit(job(1))
  const late = dispatcher.submit(job(2, { deadline: performance.now() - 1 }))
  const moved = dispatcher.admit(job(3, { deadline: performance.now() - 1 }))
  const extended = dispatcher.row(moved, job(3))
  moved.deadline = undefined
  const lateCode = codeOf(late)
  await finishAll(runtime)
  t.equal(await lateCode, 'DEADLINE_EXCEEDED')
  t.same(drops, ['expired'])
  t.equal((await extended).actions[0], 3, 'a deadline may move while the job waits')
  t.same(order(), [[1], [3]])
  await running

  const full = setUp({}, { maxWaiting: 1 })
  const first = full.dispatcher.submit(job(1))
  const expired = codeOf(full.dispatcher.submit(job(2, { deadline: performance.now() - 1 })))
  const next = full.dispatcher.submit(job(3))
  t.equal(await expired, 'DEADLINE_EXCEEDED', 'expired jobs make room in a full queue')
  await finishAll(full.runtime)
  await Promise.all([first, next])
})

t.test('cancelling', async t => {
  const { runtime, dispatcher, drops, order } = setUp({ maxBatch: 2 })
  const [a, b, c, d] = Array.from({ length: 4 }, () => new AbortController()) as [
    AbortController,
    AbortController,
    AbortController,
    AbortController,
  ]
  const first = codeOf(dispatcher.submit(job(1), a.signal))
  const second = codeOf(dispatcher.submit(job(2), b.signal))
  const third = codeOf(dispatcher.submit(job(3), c.signal))
  const fourth = codeOf(dispatcher.submit(job(4), d.signal))
  b.abort()
  t.equal(await second, 'REQUEST_CANCELLED')
  t.equal(dispatcher.depth, 2, 'a waiting job leaves the queue')
  a.abort()
  t.equal(await first, 'REQUEST_CANCELLED')
  t.ok(runtime.calls[0]?.signal?.aborted, 'the last live row stops the engine')
  await settle()
  t.same(order(), [[1], [3, 4]])
  c.abort()
  t.equal(await third, 'REQUEST_CANCELLED')
  t.notOk(runtime.calls[1]?.signal?.aborted, 'a batch goes on for the rows that are left')
  await finishAll(runtime)
  t.equal(await fourth, 'answered')
  t.same(drops, ['cancelled', 'cancelled', 'cancelled'])
  t.equal(runtime.calls.length, 3, 'two perceives and one act')
})

t.test('an error reaches every row of its batch and nobody else', async t => {
  const { runtime, dispatcher } = setUp({ maxBatch: 2, lanes: 2, prefixSlots: 2 })
  const first = codeOf(dispatcher.submit(job(1)))
  const second = codeOf(dispatcher.submit(job(2)))
  const third = codeOf(dispatcher.submit(job(3)))
  const fourth = codeOf(dispatcher.submit(job(4)))
  runtime.open[0]?.finish()
  await settle()
  runtime.at('perceive')?.fail(new Error('worker gone'))
  t.equal(await second, 'RUNTIME_FAILED')
  t.equal(await third, 'RUNTIME_FAILED')
  runtime.at('act')?.fail(new TurboPiError('RUNTIME_FAILED', 'engine gone'))
  t.equal(await first, 'RUNTIME_FAILED')
  await finishAll(runtime)
  t.equal(await fourth, 'answered')
  t.equal(runtime.prefixes, 0, 'no slot is lost')
})

t.test('the lanes overlap, two prefixes deep', async t => {
  const { runtime, dispatcher, spans, order } = setUp({ lanes: 2, prefixSlots: 2 })
  const answers = [1, 2, 3, 4].map(token => dispatcher.submit(job(token)))
  const open = () => runtime.open.map(call => `${call.lane} ${call.rows[0]?.tokens[0]}`).sort()
  t.same(open(), ['perceive 1'])
  runtime.at('perceive')?.finish()
  await settle()
  t.same(open(), ['act 1', 'perceive 2'], 'perceive(N + 1) runs beside act(N)')
  runtime.at('perceive')?.finish()
  await settle()
  t.same(open(), ['act 1'], 'both slots are taken: the third waits')
  runtime.at('act')?.finish()
  await settle()
  t.same(open(), ['act 2', 'perceive 3'])
  await finishAll(runtime)
  t.same(
    (await Promise.all(answers)).map(answer => answer.actions[0]),
    [1, 2, 3, 4],
  )
  t.same(order().flat(), [1, 2, 3, 4])
  const span = (lane: string, batch: number) => spans.find(s => s.lane === lane && s.batch === batch)!
  for (const batch of [0, 1, 2]) {
    t.ok(
      span('perceive', batch + 1).start < span('act', batch).end,
      `perceive ${batch + 1} began in act ${batch}`,
    )
    t.ok(span('act', batch + 1).start >= span('act', batch).end, 'one batch in the act lane')
  }
})

t.test('without overlap, one batch after the other', async t => {
  for (const [runtimeOptions, overlap] of [
    [{ lanes: 2, prefixSlots: 2 }, false],
    [{ lanes: 1, prefixSlots: 2 }, true],
    [{ lanes: 2, prefixSlots: 1 }, true],
  ] as const) {
    const { runtime, dispatcher, spans } = setUp(runtimeOptions, { overlap })
    const answers = [1, 2, 3].map(token => dispatcher.submit(job(token)))
    await finishAll(runtime)
    await Promise.all(answers)
    t.same(
      spans.map(span => `${span.lane} ${span.batch}`),
      ['perceive 0', 'act 0', 'perceive 1', 'act 1', 'perceive 2', 'act 2'],
    )
  }
})

t.test('a batch cancelled between the lanes does not act', async t => {
  const { runtime, dispatcher } = setUp({ lanes: 2, prefixSlots: 2 })
  const gone = new AbortController()
  const first = dispatcher.submit(job(1))
  const second = codeOf(dispatcher.submit(job(2), gone.signal))
  runtime.at('perceive')?.finish()
  await settle()
  runtime.at('perceive')?.finish()
  await settle()
  gone.abort()
  t.equal(await second, 'REQUEST_CANCELLED')
  await finishAll(runtime)
  await first
  t.equal(runtime.calls.filter(call => call.lane === 'act').length, 1)
  t.equal(runtime.prefixes, 0)
})

t.test('close lets accepted work finish', async t => {
  const { runtime, dispatcher } = setUp()
  const answers = [1, 2].map(token => codeOf(dispatcher.submit(job(token))))
  const closed = dispatcher.close()
  t.equal(await codeOf(dispatcher.submit(job(3))), 'SHUTTING_DOWN')
  t.notOk(runtime.closed)
  await finishAll(runtime)
  await closed
  t.same(await Promise.all(answers), ['answered', 'answered'])
  t.ok(runtime.closed)
  await dispatcher.close()
})

t.test('close gives up on an engine that hangs', async t => {
  const { runtime, dispatcher } = setUp({}, { drainMs: 10 })
  const answers = [1, 2].map(token => codeOf(dispatcher.submit(job(token))))
  await dispatcher.close()
  t.same(await Promise.all(answers), ['SHUTTING_DOWN', 'SHUTTING_DOWN'])
  t.ok(runtime.calls[0]?.signal?.aborted)
  t.ok(runtime.closed)
})
