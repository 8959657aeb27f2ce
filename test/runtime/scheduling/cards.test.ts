import t from 'tap'
import { CALLER_LEFT } from '../../../src/cancellation.js'
import { VirtualClock } from '../../../src/capacity/virtual-clock.js'
import { TurboPiError } from '../../../src/errors.js'
import { cardSet, openCards } from '../../../src/runtime/card-set.js'
import type { EngineChange, LaneSpan } from '../../../src/runtime/observer.js'
import type { Runtime, RuntimeInfo } from '../../../src/runtime/runtime.js'
import { Dispatcher, type DispatcherOptions } from '../../../src/runtime/scheduling/dispatcher.js'
import type { Admission, InferenceResult } from '../../../src/runtime/scheduling/ticket.js'
import { ClockedRuntime } from '../../support/clocked-runtime.js'

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    error => (error instanceof TurboPiError ? error.code : String(error)),
  )

/** Two cards behind one dispatcher, on a clock that the test lets run. */
function setUp(info: Partial<RuntimeInfo> = {}, options: DispatcherOptions = {}, count = 2) {
  const clock = new VirtualClock()
  const cards = Array.from(
    { length: count },
    (_, card) => new ClockedRuntime(clock, { ...info, cards: [card] }),
  )
  const spans: LaneSpan[] = []
  const changes: EngineChange[] = []
  const dispatcher = new Dispatcher(cardSet(cards), {
    clock,
    watch: { atLeastMs: 500, firstMs: 500 },
    observer: { lane: span => spans.push(span), engine: change => changes.push(change) },
    ...options,
  })
  /** An inference of its own robot; its answer is its token and 1000. */
  const ask = (token: number, admission: Partial<Admission> = {}): Promise<InferenceResult> => {
    const ticket = dispatcher.admit({ session: `robot ${token}`, ...admission })
    const row = { images: [null], tokens: Int32Array.of(token) }
    return dispatcher.submit(ticket, row, { noise: 1000, steps: 2 })
  }
  /** Every card knows how long it takes. */
  const warm = async () => {
    for (let round = 0; round < 3 * count; round++) {
      void ask(0)
      await clock.run(clock.now() + 1000)
    }
    for (const card of cards) card.batches.length = 0
    spans.length = 0
  }
  return {
    clock,
    cards: cards as [ClockedRuntime, ClockedRuntime, ...ClockedRuntime[]],
    dispatcher,
    ask,
    warm,
    spans,
    changes,
  }
}

const right = (results: readonly InferenceResult[], tokens: readonly number[]) =>
  results.every(({ actions }, at) => actions.every(value => value === 1000 + tokens[at]!))

t.test('each card has its own batches, and both compute at the same time', async t => {
  const { clock, cards, ask, warm, spans } = setUp({ maxBatch: 2 })
  await warm()
  const tokens = [1, 2, 3, 4, 5, 6]
  const answers = Promise.all(tokens.map(token => ask(token)))
  const start = clock.now()
  await clock.run(start + 1000)
  const results = await answers
  t.ok(right(results, tokens))
  t.equal(cards[0].batches.flat().length + cards[1].batches.flat().length, 6)
  t.ok(
    cards.every(({ batches }) => batches.length >= 1),
    'both took some',
  )
  const took = Math.max(...spans.map(({ end }) => end)) - start
  t.ok(took <= 2 * 42, `four batches in ${took} ms, two at a time`)
  t.same(new Set(spans.map(({ device }) => device)), new Set([0, 1]))
  t.same(
    new Set(results.map(({ place }) => place.device)),
    new Set([0, 1]),
    'an answer says where it was computed',
  )
})

t.test('a prefix never leaves its card, and lanes of two cards overlap', async t => {
  const { clock, cards, ask, warm } = setUp({ maxBatch: 4, lanes: 2, prefixSlots: 2 })
  await warm()
  const tokens = Array.from({ length: 60 }, (_, i) => i + 1)
  const answers = Promise.all(tokens.map(token => ask(token)))
  await clock.run(clock.now() + 5000)
  t.ok(right(await answers, tokens))
  for (const card of cards) t.equal(card.prefixes, 0, 'no slot is lost')
})

t.test('sessions are not pinned: one robot is answered by whichever card is free', async t => {
  const { clock, cards, ask, warm } = setUp()
  await warm()
  const answers = Promise.all([1, 2, 3, 4].map(token => ask(token, { session: 'one robot' })))
  await clock.run(clock.now() + 1000)
  await answers
  t.same(
    cards.map(({ batches }) => batches.length),
    [2, 2],
  )
})

t.test(
  'a batch goes where its answer is expected first, and waits for a fast card rather than take a slow one',
  async t => {
    const { clock, cards, ask, warm } = setUp()
    const [fast, slow] = cards
    slow.perceiveMs = 100
    slow.actMs = 300
    await warm()
    const answers = Promise.all([1, 2, 3, 4, 5].map(token => ask(token)))
    await clock.run(clock.now() + 2000)
    await answers
    t.equal(fast.batches.length, 5, 'five in 200 ms, before the slow one would have had its first')
    t.equal(slow.batches.length, 0)

    const many = Promise.all(Array.from({ length: 30 }, (_, i) => ask(i + 10)))
    await clock.run(clock.now() + 2000)
    await many
    t.ok(slow.batches.length >= 1 || fast.batches.length === 35, 'nobody is left behind')
  },
)

t.test('a card that has become slow is used less, and found again when it is well', async t => {
  const { clock, cards, ask, warm } = setUp()
  const [, second] = cards
  await warm()
  second.actMs = 500
  const load = async (from: number, seconds: number) => {
    for (const card of cards) card.batches.length = 0
    for (let i = 0; i < 20 * seconds; i++) {
      void ask(from + i).catch(() => {})
      await clock.run(clock.now() + 50)
    }
    await clock.run(clock.now() + 2000)
    return cards.map(({ batches }) => batches.length)
  }
  const [first, slowed] = (await load(1000, 20)) as [number, number]
  t.ok(first > 5 * slowed, `${first} and ${slowed} batches`)
  second.actMs = 30
  await clock.run(clock.now() + 11_000)
  for (const card of cards) card.batches.length = 0
  const both = Array.from({ length: 40 }, (_, i) => ask(5000 + i))
  await clock.run(clock.now() + 3000)
  await Promise.all(both)
  const shares = cards.map(({ batches }) => batches.length)
  t.ok(Math.min(...shares) >= 15, `${shares} batches`)
})

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

t.test('a stop lets both cards finish, what is tried again too, and closes both', async t => {
  const { clock, cards, ask, warm, dispatcher } = setUp()
  await warm()
  cards[1].failure = new TurboPiError('RUNTIME_FAILED', 'broken')
  const tokens = [1, 2, 3, 4]
  const answers = Promise.all(tokens.map(token => ask(token)))
  const closed = dispatcher.close()
  await clock.run(clock.now() + 2000)
  t.ok(right(await answers, tokens))
  await closed
  t.ok(cards.every(card => card.closed))
})

t.test('one card behaves as if there were no set of cards', t => {
  const clock = new VirtualClock()
  const card = new ClockedRuntime(clock, { cards: [0] })
  t.equal(cardSet([card]), card)
  const set = cardSet([card, new ClockedRuntime(clock, { cards: [1] })])
  t.match(set.info, { cards: [0, 1], device: '2 × a card', maxBatch: 1 })
  t.end()
})

t.test('when one card cannot be opened, the others are closed again', async t => {
  const clock = new VirtualClock()
  const opened: ClockedRuntime[] = []
  const open = async (device: number): Promise<Runtime> => {
    if (device === 1) throw new TurboPiError('RUNTIME_FAILED', 'no memory on GPU 1')
    const card = new ClockedRuntime(clock, { cards: [device] })
    opened.push(card)
    return card
  }
  await t.rejects(openCards([0, 1, 2], open), { message: 'no memory on GPU 1' })
  t.same(
    opened.map(({ closed }) => closed),
    [true, true],
  )
})
