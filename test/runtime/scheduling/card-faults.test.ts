import t from 'tap'
import { CALLER_LEFT } from '../../../src/cancellation.js'
import { TurboPiError } from '../../../src/errors.js'
import type { InferenceResult } from '../../../src/runtime/scheduling/ticket.js'
import { codeOf, right, setUp } from '../../support/cards.js'

t.test('what a failing card had accepted is computed by another, once', async t => {
  for (const lane of ['perceive', 'act'] as const) {
    const { clock, cards, ask, warm, dispatcher, changes } = setUp({ maxBatch: 2 })
    await warm()
    cards[1].failure = new TurboPiError('RUNTIME_FAILED', 'the GPU session has failed')
    cards[1].faultyLane = lane
    const tokens = Array.from({ length: 12 }, (_, i) => i + 1)
    const answers = Promise.all(tokens.map(token => ask(token)))
    await clock.run(clock.now() + 1000)
    t.ok(right(await answers, tokens), `no accepted answer is lost (${lane})`)
    t.same(dispatcher.engines, { working: 1, of: 2 })
    t.match(changes.at(0), { device: 1, working: 1, of: 2, error: { message: /session has failed/ } })
    t.equal(dispatcher.fault, undefined)
    t.equal(dispatcher.depth, 0)
    t.equal(cards[1].prefixes, 0)
  }
})

t.test(
  'a card that failed is tried again after a while, longer each time, and is back with its first answer',
  async t => {
    const { clock, cards, ask, warm, dispatcher, changes } = setUp()
    await warm()
    cards[1].failure = new TurboPiError('RUNTIME_FAILED', 'broken')
    const answers: Promise<InferenceResult>[] = []
    const load = async (seconds: number) => {
      for (let i = 0; i < 20 * seconds; i++) {
        answers.push(ask(answers.length))
        await clock.run(clock.now() + 50)
      }
    }
    await load(60)
    const tries = cards[1].batches.length
    t.ok(tries >= 4 && tries <= 8, `${tries} tries in a minute`)
    cards[1].failure = undefined
    await load(70)
    t.same(dispatcher.engines, { working: 2, of: 2 })
    t.match(changes.at(-1), { device: 1, working: 2, error: undefined })
    await clock.run(clock.now() + 60_000)
    t.equal((await Promise.allSettled(answers)).filter(({ status }) => status === 'rejected').length, 0)
  },
)

t.test('cards that have all failed are tried again when they have rested', async t => {
  const { clock, cards, ask, warm, dispatcher } = setUp()
  await warm()
  for (const card of cards) card.failure = new TurboPiError('RUNTIME_FAILED', 'the context is gone')
  const failed = Promise.all([1, 2, 3].map(token => codeOf(ask(token))))
  await clock.run(clock.now() + 500)
  t.same(await failed, ['RUNTIME_FAILED', 'RUNTIME_FAILED', 'RUNTIME_FAILED'])
  t.same(dispatcher.engines, { working: 0, of: 2 })
  t.notOk(dispatcher.mayTry, 'none is to be given work yet')
  await clock.run(clock.now() + 60_000)
  t.ok(dispatcher.mayTry)
  for (const card of cards) card.failure = undefined
  const answers = Promise.all([4, 5].map(token => codeOf(ask(token))))
  await clock.run(clock.now() + 500)
  t.same(await answers, ['answered', 'answered'])
  t.ok(dispatcher.engines.working > 0)
})

t.test('a row that no card survives takes none of them out', async t => {
  const { clock, cards, ask, warm, dispatcher, changes } = setUp({}, {}, 3)
  await warm()
  for (const card of cards) card.poison = 13
  const codes = Promise.all([1, 13, 2, 3].map(token => codeOf(ask(token))))
  await clock.run(clock.now() + 1000)
  t.same(await codes, ['answered', 'RUNTIME_FAILED', 'answered', 'answered'])
  t.equal(cards.flatMap(({ batches }) => batches).filter(([token]) => token === 13).length, 2, 'tried twice')
  t.same(dispatcher.engines, { working: 3, of: 3 })
  t.same(
    changes.map(({ working }) => working),
    [2, 3],
  )
})

t.test('a batch that there is no memory for fails alone, and later ones are smaller', async t => {
  const told: (number | undefined)[][] = []
  const { clock, cards, ask, warm, dispatcher } = setUp(
    { maxBatch: 8 },
    { observer: { shrunk: (...shrunk) => told.push(shrunk) } },
    1,
  )
  const [card] = cards
  await warm()
  card.memoryRows = 3
  const first = ask(0)
  const codes = Promise.all([1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(token => codeOf(ask(token))))
  await clock.run(clock.now() + 1000)
  t.equal((await first).actions[0], 1000)
  t.same(
    (await codes).map(code => code === 'answered'),
    [false, false, false, false, false, false, false, false, true, true],
  )
  const later = Array.from({ length: 12 }, (_, i) => codeOf(ask(20 + i)))
  await clock.run(clock.now() + 2000)
  const failed = (await Promise.all(later)).filter(code => code === 'OUT_OF_MEMORY').length
  t.equal(failed, 4, 'eight were halved to four, and those to two')
  t.same(told, [
    [0, 8, 4],
    [0, 4, 2],
  ])
  t.equal(dispatcher.fault, undefined)
  t.same(dispatcher.engines, { working: 1, of: 1 })
})

t.test('of two cards the other one computes what one has no memory for', async t => {
  const { clock, cards, ask, warm, dispatcher } = setUp({ maxBatch: 4 })
  await warm()
  cards[1].memoryRows = 1
  const tokens = Array.from({ length: 16 }, (_, i) => i + 1)
  const answers = Promise.all(tokens.map(token => ask(token)))
  await clock.run(clock.now() + 2000)
  t.ok(right(await answers, tokens))
  t.same(dispatcher.engines, { working: 2, of: 2 }, 'nobody is taken out for it')
})

t.test('work whose deadline has passed meanwhile is not done again', async t => {
  const { clock, cards, ask, warm } = setUp()
  await warm()
  cards[0].failure = cards[1].failure = undefined
  for (const card of cards) card.perceiveMs = 100
  const [first, second] = cards
  first.failure = second.failure = new TurboPiError('RUNTIME_FAILED', 'broken')
  const code = codeOf(ask(1, { deadline: clock.now() + 50 }))
  await clock.run(clock.now() + 1000)
  t.equal(await code, 'RUNTIME_FAILED')
  t.equal(first.batches.length + second.batches.length, 1)
})

t.test('where every card fails, the error is told as with one', async t => {
  const { clock, cards, ask, warm, dispatcher } = setUp()
  await warm()
  for (const card of cards) card.failure = new TurboPiError('RUNTIME_FAILED', 'broken')
  const codes: string[] = []
  for (let i = 0; i < 10; i++) {
    const code = codeOf(ask(i))
    await clock.run(clock.now() + 200)
    codes.push(await code)
  }
  t.same(new Set(codes), new Set(['RUNTIME_FAILED']))
  t.equal(dispatcher.fault, undefined)
  for (const card of cards) card.failure = undefined
  const answer = ask(7)
  await clock.run(clock.now() + 70_000)
  t.equal(await codeOf(answer), 'answered')
})

t.test('a card that has failed for good is not tried again', async t => {
  const { clock, cards, ask, warm, dispatcher, changes } = setUp()
  await warm()
  cards[1].break(new TurboPiError('RUNTIME_FAILED', 'the GPU session has failed'))
  const tokens = Array.from({ length: 12 }, (_, i) => i + 1)
  const answers = Promise.all(tokens.map(token => ask(token)))
  await clock.run(clock.now() + 1000)
  t.ok(right(await answers, tokens), 'no accepted answer is lost')
  t.same(dispatcher.engines, { working: 1, of: 2 })
  t.match(changes, [{ device: 1, working: 1, error: { message: /session has failed/ } }])
  const tries = cards[1].batches.length
  await clock.run(clock.now() + 300_000)
  const later = ask(99)
  await clock.run(clock.now() + 1000)
  t.equal((await later).place.device, 0)
  t.equal(cards[1].batches.length, tries)
})

t.test('cards that fail together for good leave a server that is not ready and says why', async t => {
  const { clock, cards, ask, warm, dispatcher } = setUp()
  await warm()
  for (const card of cards) card.break(new TurboPiError('RUNTIME_FAILED', 'the GPU session has failed'))
  const codes = Promise.all([1, 2, 3, 4].map(token => codeOf(ask(token))))
  await clock.run(clock.now() + 1000)
  t.same(new Set(await codes), new Set(['RUNTIME_FAILED']))
  t.same(dispatcher.engines, { working: 0, of: 2 })
  await clock.run(clock.now() + 300_000)
  t.notOk(dispatcher.mayTry)
  t.match(dispatcher.fault, { code: 'RUNTIME_FAILED', message: /session has failed/ })
})

t.test('a card that hangs gives up what it had, and the others go on', async t => {
  for (const lane of ['perceive', 'act'] as const) {
    const { clock, cards, ask, warm, dispatcher, changes } = setUp({ maxBatch: 2, lanes: 2, prefixSlots: 2 })
    await warm()
    cards[1].hangs = true
    cards[1].faultyLane = lane
    const tokens = Array.from({ length: 20 }, (_, i) => i + 1)
    const answers = Promise.all(tokens.map(token => ask(token)))
    await clock.run(clock.now() + 10_000)
    t.ok(right(await answers, tokens), `no accepted answer is lost (${lane})`)
    t.same(dispatcher.engines, { working: 1, of: 2 })
    t.match(changes, [{ device: 1, error: { code: 'ENGINE_HUNG' } }])
    t.equal(dispatcher.fault, undefined, 'the server is ready')
    const later = ask(99)
    await clock.run(clock.now() + 1000)
    t.equal((await later).place.device, 0)
  }
})

t.test('only when every card hangs is nothing admitted', async t => {
  const { clock, cards, ask, warm, dispatcher } = setUp()
  await warm()
  for (const card of cards) card.hangs = true
  const codes = Promise.all([1, 2, 3].map(token => codeOf(ask(token))))
  await clock.run(clock.now() + 10_000)
  t.same(new Set(await codes), new Set(['ENGINE_HUNG']))
  t.equal(dispatcher.fault?.code, 'ENGINE_HUNG')
  t.throws(() => dispatcher.admit({ session: 'late' }), { code: 'ENGINE_HUNG' })
})

t.test(
  'one card that fails again and again does not count as ready, and is when it may be tried again',
  async t => {
    const { clock, cards, ask, dispatcher } = setUp({}, {}, 1)
    const [card] = cards
    const next = async () => {
      const code = codeOf(ask(1))
      await clock.run(clock.now() + 100)
      return [await code, dispatcher.mayTry]
    }
    card.failure = new TurboPiError('RUNTIME_FAILED', 'the context is gone')
    t.same(await next(), ['RUNTIME_FAILED', true], 'the row may be at fault')
    card.failure = undefined
    t.same(await next(), ['answered', true])
    card.failure = new TurboPiError('RUNTIME_FAILED', 'the context is gone')
    t.same([await next(), await next(), await next()].flat(), [
      ...['RUNTIME_FAILED', true, 'RUNTIME_FAILED', true, 'RUNTIME_FAILED', false],
    ])
    t.equal(dispatcher.fault, undefined, 'whoever asks all the same is told the reason')
    await clock.run(clock.now() + 1000)
    t.ok(dispatcher.mayTry)
    t.same(await next(), ['RUNTIME_FAILED', false])
    card.failure = undefined
    t.same(await next(), ['answered', true])
  },
)

t.test('who leaves while its work is tried again gives up the place', async t => {
  const { clock, cards, dispatcher, warm, ask } = setUp()
  await warm()
  const [first, second] = cards
  second.failure = new TurboPiError('RUNTIME_FAILED', 'broken')
  second.perceiveMs = 5
  first.perceiveMs = 200
  const busy = ask(1)
  const ticket = dispatcher.admit({ session: 'leaves' })
  const row = { images: [null], tokens: Int32Array.of(2) }
  const answer = codeOf(dispatcher.submit(ticket, row, { noise: 1000, steps: 2 }))
  await clock.run(clock.now() + 50)
  t.equal(dispatcher.depth, 1, 'it waits for the other card')
  dispatcher.leave(ticket, CALLER_LEFT)
  t.equal(await answer, 'REQUEST_CANCELLED')
  t.equal(dispatcher.depth, 0)
  await clock.run(clock.now() + 1000)
  await busy
  t.same(first.batches, [[1]])
})
